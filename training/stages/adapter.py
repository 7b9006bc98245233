"""An adapter from nothing: a ControlNet or T2I-Adapter for the image model, by plain denoising.

As the community's adapters are made: the image model stays as it is, the adapter learns to bring its hints
into the picture. `adapt` then makes it one for video.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from animatelcm_core.consistency import add_noise
from animatelcm_core.schedule import TRAIN_STEPS
from animatelcm_core.solver import snr_weight

from ..adapters import Control
from ..base import Base
from ..config import AdapterConfig
from ..data.sample import Batch
from ..hints import hints_of
from ..randomness import sample_generator
from ..roles import Hints, Network, Parts, Role
from .previews import ConditionedPreviews
from .stage import Autocast, Backward


class AdapterStage(ConditionedPreviews):
    """Trains all of `adapter`, a network of the kind that the config says."""

    distilled = False

    def __init__(self, config: AdapterConfig, base: Base, adapter: nn.Module):
        super().__init__(config, base)
        self.adapter = config.adapter
        control = Control(self.adapter.kind, adapter, base.unet).to(base.device)
        self.network = Network(base.unet, Parts(control=control), config.gradient_checkpointing)
        self.online = self.network

    def student(self) -> Role:
        return Role(control=0.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        assert self.network.control is not None
        return dict(self.network.control.network.requires_grad_(True).named_parameters())

    def conditioning(self, batch: Batch, latents: Tensor) -> Hints:
        hints = Hints(hints_of(self.adapter.hint, batch, latents, self.base))
        self.remember(batch, hints, latents.shape[1])
        return hints

    def step(self, batch: Batch, backward: Backward, autocast: Autocast) -> dict[str, Tensor]:
        latents, context = self.encoded(batch)
        t, noise, silent = self._drawn(batch.positions, latents)
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

    def _drawn(self, positions: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample: t (b,), noise like latents, and whether its caption is left out (b,)."""
        rows = []
        for position in positions.tolist():
            g = sample_generator(self.config.seed, position)
            t, chance = torch.randint(TRAIN_STEPS, (), generator=g), torch.rand((), generator=g)
            rows.append((t, torch.randn(latents.shape[1:], generator=g), chance < self.adapter.drop))
        t, noise, silent = (torch.stack(part).to(latents.device) for part in zip(*rows, strict=True))
        return t, noise, silent

    def _weight(self, alpha_bar: Tensor) -> Tensor:
        """Of a squared error of the noise: with it that of x_0 counts snr, within the config's limits."""
        return snr_weight(alpha_bar, *self.adapter.snr)
