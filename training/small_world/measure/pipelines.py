"""Models to be measured: exported files put together as something that samples clips."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animatelcm_core.schedule import Schedule

from ...config import BaseConfig
from ...pipeline import Arm, Sampler, Setting, denoise, load
from ...randomness import sample_generator
from ..world.clips import FRAMES, SIZE

__all__ = ["Arm", "Files", "Sampler", "Setting", "build", "sample"]


@dataclass(frozen=True)
class Files:
    """Exported files of one arm: single-file checkpoint, motion weights, LoRA in kohya's names or none."""

    checkpoint: Path
    motion: Path
    lora: Path | None = None

    def digest(self) -> str:
        """Short hash of the contents, so that a run is never mixed out of two models."""
        digest = hashlib.sha256()
        for path in (self.checkpoint, self.motion, self.lora):
            digest.update(path.read_bytes() if path else b"none")
        return digest.hexdigest()[:16]


def build(name: str, files: Files, schedule: Schedule | None = None) -> Arm:
    """The arm of exported files. Without `schedule` it is the one that the motion file names."""
    config = BaseConfig(variant="shapes", checkpoint=files.checkpoint, motion=files.motion, lora=files.lora)
    return load(config, name, schedule=schedule)


def sample(arm: Arm, setting: Setting, captions: list[str], seed: int, start: int = 0) -> Tensor:
    """Clips (n, f, 3, 64, 64) in 0..1 of the captions.

    Noise depends on (seed, start) alone: every arm and setting gets the same, clip by clip.
    """
    shape = (len(captions), FRAMES, 4, SIZE // 8, SIZE // 8)
    noise = torch.randn(shape, generator=sample_generator(seed, start))
    return arm.decode(denoise(arm, setting, captions, noise, sample_generator(seed + 1, start)))
