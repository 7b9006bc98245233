"""The small world's command line: makes its model from nothing, and runs the paper's experiments on it.

python -m training.small_world COMMAND --help
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

# command -> its module, imported when it is chosen, and what it does
COMMANDS = {
    "all": ("teacher.make", "the model from nothing: every stage below in order, each held to its gate"),
    "judge": ("teacher.make", "stage 1: the network that tells bodies"),
    "vae": ("teacher.make", "stage 2: the autoencoder"),
    "latents": ("teacher.make", "stage 3: latents of unit variance, encoded once"),
    "decoder": ("teacher.make", "stage 4: the decoder alone"),
    "image": ("teacher.make", "stage 5: UNet and text model, on single frames"),
    "motion": ("teacher.make", "stage 6: the temporal modules, on clips"),
    "export": ("teacher.make", "stage 7: the files in demo/"),
    "restart": ("teacher.make", "turn the shipped weights into stage files, to train them further"),
    "data": ("teacher.make", "the caches that the trainer's shapes_* configs read"),
    "sample": ("teacher.sample", "one clip of the teacher from given noise"),
    "table1": ("experiments.table1", "the paper's Table 1"),
    "figure5": ("experiments.figure5", "the paper's Figure 5"),
    "image-to-video": (
        "experiments.image_to_video",
        "how well image to video keeps the image, and whether it moves",
    ),
    "control": ("experiments.control", "how well clips follow their hints, before and after adaptation"),
    "style": ("experiments.style", "a personal image model in another style"),
    "fine-vae": ("experiments.fine_vae", "a VAE for colours between the palette's"),
    "reproduce": ("experiments.reproduce", "stages one and two, Table 1 and Figure 5, in one command"),
    "stage-three": ("experiments.stage_three", "image to video and control, in one command"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m training.small_world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = None
    for word, (place, summary) in COMMANDS.items():
        command = commands.add_parser(word, help=summary, formatter_class=parser.formatter_class)
        if words[:1] == [word]:
            chosen = import_module(f".{place}", __package__)
            command.description = chosen.__doc__
            chosen.add_options(command)
    options = parser.parse_args(words)
    assert chosen is not None  # argparse has refused every other word
    chosen.main(options)


if __name__ == "__main__":
    main()
