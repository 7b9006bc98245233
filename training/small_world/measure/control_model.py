"""The distilled model under an adapter: the clips it samples, and what one step makes at each noise level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animatelcm_core.consistency import add_noise, x0_from_eps
from animatelcm_core.formats import build_motion_model
from animatelcm_core.motion_module import MotionModel
from animatelcm_core.schedule import SCHEDULES

from ...adapters import Control
from ...base import Base, load_motion_file
from ...config import BaseConfig
from ...pipeline import Pipeline, Sampling, load_merged
from ...randomness import sample_generator
from ...roles import Hints, Parts
from ..world import judge
from ..world.clips import FRAMES
from .control_metrics import SEED, HintSet, overlap
from .pipelines import sample

SCHEDULE = SCHEDULES["text to video"]
STEPS, BATCH = 4, 20


@dataclass
class ControlModel:
    """The distilled model of exported files; each call names the adapter."""

    base: Base
    motion: MotionModel

    @classmethod
    def load(cls, checkpoint: Path, lora: Path, motion: Path) -> ControlModel:
        config = BaseConfig(variant="shapes", checkpoint=checkpoint, motion=motion, lora=lora)
        file = load_motion_file(motion, "shapes")
        return cls(load_merged(config), build_motion_model(file, nn, torch.float32))

    def pipeline(self, control: Control | None) -> Pipeline:
        return Pipeline.of(self.base, SCHEDULE, Parts(motion=self.motion, control=control))

    @torch.inference_mode()
    def sample(self, hint_set: HintSet, control: Control | None) -> Tensor:
        """Clips (n, f, 3, 64, 64) in 0..1. Equal numbers give equal noise, with hints or without."""
        parts, pipeline, sampling = [], self.pipeline(control), Sampling("lcm", STEPS)
        for start in range(0, len(hint_set), BATCH):
            part = slice(start, start + BATCH)
            hints = Hints(hint_set.hints[part].flatten(0, 1))
            parts.append(sample(pipeline, sampling, hint_set.captions[part], SEED + 1, start, hints))
        return torch.cat(parts)

    @torch.inference_mode()
    def encode(self, hint_set: HintSet) -> Tensor:
        """The clips of the hints in latents (n, f, 4, 8, 8)."""
        pixels = hint_set.pixels
        return self.base.encode_pixels(pixels.flatten(0, 1) * 2 - 1).unflatten(0, pixels.shape[:2])

    @torch.inference_mode()
    def denoise_once(self, hint_set: HintSet, latents: Tensor, control: Control, t: int) -> Tensor:
        """What one step makes at t of the clips in latents (n, f, 4, 8, 8), with noise, under their hints."""
        parts, pipeline = [], self.pipeline(control)
        for start in range(0, len(hint_set), BATCH):
            part = slice(start, start + BATCH)
            x0 = latents[part]
            noise = torch.randn(x0.shape, generator=sample_generator(SEED + 3, start))
            alpha_bar = SCHEDULE.alpha_bar()[t].expand(len(x0))
            x = add_noise(x0, noise, alpha_bar)
            with pipeline.conditioned(Hints(hint_set.hints[part].flatten(0, 1)), FRAMES):
                eps = pipeline.eps(x, t, pipeline.encode_text(hint_set.captions[part]))
            parts.append(x0_from_eps(x, eps, alpha_bar))
        return torch.cat(parts)

    def levels(self, hint_set: HintSet, latents: Tensor, control: Control) -> list[dict[str, Any]]:
        """What one step makes of noisy clips at each noise level of sampling, most noise first.

        latents: the clips of `hint_set`, (n, f, 4, 8, 8).
        overlap: as ControlMetrics has it; distance from the true latents, mean absolute; spread: standard
        deviation over theirs.
        """
        rows, hinted = [], judge.colourfulness(hint_set.pixels)[0]
        for t in SCHEDULE.timesteps(STEPS).tolist():
            x0 = self.denoise_once(hint_set, latents, control, t)
            clips = self.base.decode(x0.flatten(0, 1)).unflatten(0, x0.shape[:2])
            measures = {
                "overlap": overlap(judge.colourfulness(clips)[0], hinted).mean(),
                "distance": (x0 - latents).abs().mean(),
                "spread": x0.std() / latents.std(),
            }
            rows.append({"t": t, **{key: round(float(value), 4) for key, value in measures.items()}})
        return rows
