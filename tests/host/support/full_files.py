"""Full-size weights files of seeded numbers, kept in .hosts/seeded/ for tests and benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from frontdoor.paths import HOSTS

from . import ROOT

sys.path.append(str(ROOT / "tests" / "support"))

import full_size  # noqa: E402
from full_size import (  # noqa: E402
    CHECKPOINT,
    CONTROL_LORA,
    CONTROLNET,
    IMAGE_MOTION,
    LORA,
    MOTION,
    SEEDS,
    T2I_ADAPTER,
    T2I_LORA,
)

__all__ = [
    "CHECKPOINT",
    "CONTROLNET",
    "CONTROL_LORA",
    "FOLDER",
    "IMAGE_MOTION",
    "LORA",
    "MOTION",
    "SEEDS",
    "T2I_ADAPTER",
    "T2I_LORA",
    "extra_paths",
    "name",
    "path",
    "write",
]

FOLDER = HOSTS / "seeded"
KINDS = ("checkpoints", "animatediff_models", "controlnet", "loras")


def write() -> Path:
    """Write the files unless they are there; their folder comes back."""
    # A process of its own writes them: the maker needs the repository on sys.path, where nodes/ would hide
    # ComfyUI's.
    subprocess.run([sys.executable, full_size.__file__, str(FOLDER)], check=True)
    return FOLDER


def name(file: str) -> str:
    """The name of one of the files as users choose it in a node."""
    return file.rpartition("/")[2]


def path(file: str) -> Path:
    """Where one of the files is."""
    return FOLDER / file


def extra_paths(config: Path) -> Path:
    """Write `config`, an extra_model_paths.yaml by which a ComfyUI finds the files."""
    lines = ["seeded:", f"  base_path: '{FOLDER}'", *(f"  {kind}: {kind}" for kind in KINDS)]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config
