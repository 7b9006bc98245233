"""`python -m training COMMAND`: train, evaluate and export. `COMMAND --help` lists its options.

encode          videos or pictures -> cached latents and text, for `data: {kind: cached}`
image           stage one: the LCM LoRA
video           stage two: the motion weights
image-to-video  stage three, without a teacher: the image encoder
control         stage three, without a teacher: a LoRA on a ControlNet or T2I-Adapter
adapter         a ControlNet or T2I-Adapter for the image model, from nothing
eval            exported weights -> clips, and their metrics: CLIPSIM, FVD
export          a checkpoint of a run -> files for ComfyUI; other motion files -> .safetensors
bench           speed, memory and share of peak arithmetic of one training step
"""

from __future__ import annotations

import importlib
import sys

COMMANDS = ("encode", "eval", "export", "bench")  # every other word is a stage, which `train` looks up


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    name = arguments[0] if arguments[0] in COMMANDS else "train"
    command = importlib.import_module(f".commands.{name}", __package__)
    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
