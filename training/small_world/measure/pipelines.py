"""Loads exported files as pipelines, and samples clips that are to be measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animatelcm_core.schedule import Schedule

from ...config import BaseConfig
from ...pipeline import Conditions, Pipeline, Sampling
from ...randomness import sample_generator
from ...roles import Conditioning
from ..world.clips import FRAMES, SIZE


@dataclass(frozen=True)
class ModelFiles:
    """Exported files of one model: single-file checkpoint, motion weights, LoRA in kohya's names or none."""

    checkpoint: Path
    motion: Path
    lora: Path | None = None

    def digest(self) -> str:
        """Short hash of the contents, so that a run is never mixed out of two models."""
        digest = hashlib.sha256()
        for path in (self.checkpoint, self.motion, self.lora):
            digest.update(path.read_bytes() if path else b"none")
        return digest.hexdigest()[:16]


def load_pipeline(files: ModelFiles, schedule: Schedule | None = None) -> Pipeline:
    """The pipeline of exported files. Without `schedule` it is the one that the motion file names."""
    config = BaseConfig(variant="shapes", checkpoint=files.checkpoint, motion=files.motion, lora=files.lora)
    return Pipeline.load(config, schedule)


def sample(
    pipeline: Pipeline,
    sampling: Sampling,
    captions: list[str],
    seed: int,
    start: int = 0,
    conditioning: Conditioning | None = None,
) -> Tensor:
    """Clips (n, f, 3, 64, 64) in 0..1 of the captions.

    Noise depends on (seed, start) alone: every pipeline and sampling gets the same, clip by clip.
    """
    shape = (len(captions), FRAMES, 4, SIZE // 8, SIZE // 8)
    noise = torch.randn(shape, generator=sample_generator(seed, start))
    fresh = sample_generator(seed + 1, start)
    return pipeline.sample(Conditions(captions, conditioning), noise, sampling, fresh)
