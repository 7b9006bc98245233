"""Full-size weights files of seeded numbers in .hosts/seeded/, where the host's loaders find them."""

from __future__ import annotations

import subprocess
import sys

from frontdoor.paths import HOSTS

from . import ROOT
from .inprocess import Comfy

sys.path.append(str(ROOT / "tests" / "support"))

import full_size  # noqa: E402
from full_size import CHECKPOINT, LORA, MOTION, SEEDS  # noqa: E402

__all__ = ["CHECKPOINT", "FOLDER", "LORA", "MOTION", "SEEDS", "offer"]

FOLDER = HOSTS / "seeded"


def offer(comfy: Comfy) -> None:
    """Write the files unless they are there, and add their folders to the host's."""
    # A process of its own writes them: the maker needs the repository on sys.path, where nodes/ would hide
    # ComfyUI's.
    subprocess.run([sys.executable, full_size.__file__, str(FOLDER)], check=True)
    for name in (CHECKPOINT, MOTION, LORA):
        kind = name.split("/")[0]
        comfy.module("folder_paths").add_model_folder_path(kind, str(FOLDER / kind))
