"""The distilled model that begins its clips as reference pictures, with any encoder or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from animatelcm_core.formats import build_image_encoder, build_motion_model
from animatelcm_core.image_encoder import ImageEncoder
from animatelcm_core.motion_module import MotionModel
from animatelcm_core.schedule import SCHEDULES, Schedule

from ...base import Base, load_motion_file
from ...config import BaseConfig
from ...image_conditioning import Reading, build_encoder, conditioning
from ...pipeline import Pipeline, Sampling, load_merged
from ...roles import Parts, Reference
from ..teacher import networks
from ..world.clips import FRAMES
from .i2v_metrics import SEED, ReferenceSet
from .pipelines import sample

BATCH = 20


@dataclass
class ImageToVideoModel:
    """A distilled model with an image encoder, or without one (text to video)."""

    base: Base
    motion: MotionModel
    schedule: Schedule
    encoder: ImageEncoder | None = None
    reading: Reading = "latents"

    @classmethod
    def load(
        cls, checkpoint: Path, lora: Path, motion: Path, schedule: str = "", vae: Path | None = None
    ) -> ImageToVideoModel:
        """The model of exported files. schedule: used in place of the one that the motion file names."""
        config = BaseConfig(variant="shapes", checkpoint=checkpoint, vae=vae, motion=motion, lora=lora)
        file = load_motion_file(motion, "shapes")
        return cls(
            load_merged(config),
            build_motion_model(file, nn, torch.float32),
            SCHEDULES[schedule or file.schedule],
            build_image_encoder(file, nn, torch.float32),
        )

    def untrained(self, reading: Reading = "latents") -> ImageToVideoModel:
        """The same model with an encoder that has learned nothing."""
        encoder = build_encoder(networks.MOTION.channels, reading, seed=0)
        return replace(self, encoder=encoder.eval(), reading=reading)

    @torch.inference_mode()
    def sample(
        self, reference_set: ReferenceSet, steps: int, motion_scale: float, seed: int = SEED
    ) -> Tensor:
        """Clips (n, f, 3, 64, 64) in 0..1. Equal seeds give equal noise, whatever the model."""
        parts, sampling, captions = [], Sampling("lcm", steps), reference_set.captions()
        pipeline = Pipeline.of(self.base, self.schedule, Parts(motion=self.motion, encoder=self.encoder))
        for start in range(0, len(reference_set), BATCH):
            part = slice(start, start + BATCH)
            reference = self.reference(reference_set.pictures[part] * 2 - 1, motion_scale)
            parts.append(sample(pipeline, sampling, captions[part], seed, start, reference))
        return torch.cat(parts)

    def reference(self, pictures: Tensor, motion_scale: float) -> Reference | None:
        """Conditioning for clips that begin as pictures (n, 3, 64, 64) in -1..1; None without an encoder."""
        if self.encoder is None:
            return None
        latents = self.base.encode_pixels(pictures)
        return Reference(conditioning(self.reading, latents, pictures, FRAMES), motion_scale)
