"""Full-size seeded weights, written once per machine: `python tests/support/full_size.py FOLDER` (5.1 GB).

Writes checkpoints/, animatediff_models/, controlnet/ and loras/ into FOLDER, named as in ComfyUI's models
folder. Files of an older recipe are written anew; files that were cut short are never taken for whole ones.

Importing this module imports nothing of the repository, so that a process that holds ComfyUI may do so.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

CHECKPOINT = "checkpoints/seeded_sd15.safetensors"
MOTION = "animatediff_models/seeded_t2v.ckpt"
LORA = "loras/seeded_lcm.safetensors"
IMAGE_MOTION = "animatediff_models/seeded_i2v.safetensors"
CONTROLNET = "controlnet/seeded_controlnet.safetensors"
T2I_ADAPTER = "controlnet/seeded_t2i.safetensors"
CONTROL_LORA = "loras/seeded_controlnet_lora.safetensors"
T2I_LORA = "loras/seeded_t2i_lora.safetensors"
SEEDS = {CHECKPOINT: 0, MOTION: 1, LORA: 2, IMAGE_MOTION: 3, CONTROLNET: 5, T2I_ADAPTER: 6}
SEEDS |= {CONTROL_LORA: 8, T2I_LORA: 9}

_RECIPE = ("full_size.py", "seeded_files.py", "sd15_layout.py", "motion_layouts.py", "adapter_layouts.py")


def mark() -> str:
    """Changes with the recipe."""
    here = Path(__file__).resolve().parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in _RECIPE)).hexdigest()


def write(folder: Path) -> None:
    """Write what is missing in `folder`: two to three minutes on one core, then nothing."""
    from functools import partial

    import seeded_files

    makers = {
        CHECKPOINT: seeded_files.write_sd15,
        MOTION: seeded_files.write_motion,
        LORA: seeded_files.write_lora,
        IMAGE_MOTION: partial(seeded_files.write_motion, layout="animatelcm_i2v"),
        CONTROLNET: seeded_files.write_controlnet,
        T2I_ADAPTER: seeded_files.write_t2i_adapter,
        CONTROL_LORA: partial(seeded_files.write_adapter_lora, kind="controlnet"),
        T2I_LORA: partial(seeded_files.write_adapter_lora, kind="t2i_adapter"),
    }
    stamp = folder / "recipe.txt"
    current = stamp.is_file() and stamp.read_text(encoding="ascii") == mark()
    for name, make in makers.items():
        path = folder / name
        if current and path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{os.getpid()}-{path.name}")  # two processes may write at once
        try:
            make(part, seed=SEEDS[name])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    stamp.write_text(mark(), encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
