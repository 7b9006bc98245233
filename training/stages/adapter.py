"""An adapter from nothing: a ControlNet or T2I-Adapter for the image model, by plain denoising.

As the community's adapters are made: the image model stays as it is, the adapter learns to bring its hints
into the picture. The stage `control` then makes it one for video.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from animatelcm_core.consistency import add_noise
from animatelcm_core.formats import AdapterKind
from animatelcm_core.schedule import TRAIN_STEPS
from animatelcm_core.solver import snr_weight

from ..adapters import Control, new_adapter, published_tensors
from ..base import Base
from ..config import HintConfig, LocalFile, RunConfig, Section
from ..data.sample import Batch
from ..export import save_adapter
from ..hints import hints_of
from ..randomness import sample_generator
from ..roles import Hints, Network, Parts, Role
from ..weights import Weights
from .previews import ConditionedPreviews
from .stage import Autocast, Backward, Export

Limit = Annotated[float, Field(gt=0, allow_inf_nan=True)]


class AdapterSection(Section):
    """An adapter from nothing, or from `start`: a file of the same kind, to train further.

    hint_channels: of a new T2I-Adapter, 1 for edges and sketches. caption_dropout: share of captions that are
    left out, so that hints are read for themselves. snr: limits of the weight of an error in x_0; with 0 and
    infinity all levels of the noise's error count the same.
    """

    kind: AdapterKind
    start: LocalFile | None = None
    hint: HintConfig = HintConfig()
    hint_channels: Literal[1, 3] = 1
    caption_dropout: float = Field(default=0.3, ge=0, le=1)
    snr: tuple[Annotated[float, Field(ge=0)], Limit] = (0.0, float("inf"))

    @model_validator(mode="after")
    def _in_order(self) -> AdapterSection:
        if not self.snr[0] <= self.snr[1]:
            raise ValueError(f"got snr {self.snr}; expected two limits, low and high")
        return self


class AdapterConfig(RunConfig):
    stage: str = "adapter"
    adapter: AdapterSection


class AdapterStage(ConditionedPreviews[AdapterConfig]):
    """Trains all of `adapter`, a network of the kind that the config says."""

    name, Config, pictures = "adapter", AdapterConfig, True
    distilled = False

    def __init__(self, config: AdapterConfig, base: Base, adapter: nn.Module):
        super().__init__(config, base)
        self.section = config.adapter
        control = Control(self.section.kind, adapter, base.unet).to(base.device)
        self.network = Network(base.unet, Parts(control=control), config.gradient_checkpointing)
        self.online = self.network

    @classmethod
    def build(cls, config: AdapterConfig, base: Base, weights: Weights) -> AdapterStage:
        section = config.adapter
        if section.start is None:
            network = new_adapter(section.kind, base.unet, section.hint_channels, config.seed)
        else:
            network = weights.adapter(section.kind, section.start, base.unet, section.hint_channels)
        return cls(config, base, network)

    @classmethod
    def export(cls, config: AdapterConfig, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        return [save_adapter(to.path, published_tensors(config.adapter.kind, weights), to.about)]

    @classmethod
    def settings(cls, config: AdapterConfig) -> dict[str, Any]:
        return {"kind": config.adapter.kind}

    def student(self) -> Role:
        return Role(control=0.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        assert self.network.control is not None
        return dict(self.network.control.network.requires_grad_(True).named_parameters())

    def conditioning(self, batch: Batch, latents: Tensor) -> Hints:
        hints = Hints(hints_of(self.section.hint, batch, latents, self.base))
        self.remember(batch, hints, latents.shape[1])
        return hints

    def step(self, batch: Batch, backward: Backward, autocast: Autocast) -> dict[str, Tensor]:
        latents, context = self.encode_batch(batch)
        t, noise, silent = self._draw(batch.positions, latents)
        context = torch.where(silent[:, None, None], self.null.to(context), context)
        with torch.no_grad():
            conditioning = self.conditioning(batch, latents)
        a = self.alpha_bar.to(latents.device)[t]
        with self.network.acting(self.student(), latents.shape[1], conditioning):
            eps = self.eps(add_noise(latents, noise, a), t, context, self.online, autocast)
            distance = (eps - noise).square().flatten(1).mean(1)
            loss = (self._weight(a) * distance).mean()
            backward(loss)
        return {
            "loss": loss.detach(),
            "distance": distance.detach(),
            "n": t * self.solver.steps // TRAIN_STEPS,
        }

    def _draw(self, positions: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample: t (b,), noise like latents, and whether its caption is left out (b,)."""
        rows = []
        for position in positions.tolist():
            g = sample_generator(self.config.seed, position)
            t, chance = torch.randint(TRAIN_STEPS, (), generator=g), torch.rand((), generator=g)
            noise = torch.randn(latents.shape[1:], generator=g)
            rows.append((t, noise, chance < self.section.caption_dropout))
        t, noise, silent = (torch.stack(part).to(latents.device) for part in zip(*rows, strict=True))
        return t, noise, silent

    def _weight(self, alpha_bar: Tensor) -> Tensor:
        """Weight of a squared error in the noise: min-SNR, within the config's limits."""
        return snr_weight(alpha_bar, *self.section.snr)
