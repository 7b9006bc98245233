"""Stage three for image to video: the image encoder, alone or with the motion weights (paper 4.3, Eq. 11).

Base and LoRA stay as they are.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from einops import repeat
from torch import Tensor, nn

from animatelcm_core.motion_module import MotionModel

from ..base import Base
from ..config import AdaptConfig, EncoderSection
from ..data.sample import Batch
from ..ema import ema_update
from ..image_conditioning import build_encoder, conditioning
from ..lora import Lora
from ..randomness import sample_generator
from ..roles import Network, Parts, Reference, Role
from ..variants import find_variant
from .previews import ConditionedPreviews
from .teacher_free import TeacherFree

ENCODER = "img_encoder."


class EncoderStage(ConditionedPreviews, TeacherFree):
    """Trains an image encoder from nothing, and the motion weights along if the config says so.

    theta: the distilled motion weights. lora: the LCM LoRA, injected into the base's UNet.
    """

    schedule = "image to video"

    def __init__(self, config: AdaptConfig, base: Base, theta: MotionModel, lora: Lora):
        super().__init__(config, base)
        assert isinstance(config.adapt, EncoderSection)
        self.adapt, self.mu = config.adapt, config.mu
        self.theta = theta.to(base.device)
        channels = find_variant(config.base.variant).motion.channels
        self.encoder = build_encoder(channels, self.adapt.reading, config.seed).to(base.device)
        self.encoder_minus = copy.deepcopy(self.encoder).requires_grad_(False)
        self.theta_minus = copy.deepcopy(theta) if self.adapt.motion else theta
        self.network = Network(
            base.unet, Parts(lora, self.theta, self.encoder), config.gradient_checkpointing
        )
        self.online = self.network

    def target(self) -> Role:
        return Role(self.theta_minus, 1.0, encoder=self.encoder_minus)

    def student(self) -> Role:
        return Role(self.theta, 1.0, encoder=self.encoder)

    def trainable(self) -> dict[str, nn.Parameter]:
        parameters = {ENCODER + k: p for k, p in self.encoder.requires_grad_(True).named_parameters()}
        if self.adapt.motion:
            parameters |= dict(self.theta.requires_grad_(True).named_parameters())
        return parameters

    def lr_factor(self, name: str) -> float:
        return 1.0 if name.startswith(ENCODER) else self.adapt.motion_rate

    def encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Latents and context; stills are their first frame held."""
        latents, context = super().encoded(batch)
        still = self.still(batch).to(latents.device)[:, None, None, None, None]
        return torch.where(still, latents[:, :1], latents), context

    def still(self, batch: Batch) -> Tensor:
        """(b,) which clips are shown as stills. Drawn apart from their noise, which stays as it would be."""
        draws = [sample_generator(~self.config.seed, p) for p in batch.positions.tolist()]
        return torch.stack([torch.rand((), generator=g) < self.adapt.stills for g in draws])

    def conditioning(self, batch: Batch, latents: Tensor) -> Reference:
        """The clips' first frames."""
        first, pixels = latents[:, 0], None
        if self.adapt.reading == "pixels":
            clips = batch.pixels
            pixels = self.base.decode(first) * 2 - 1 if clips is None else clips[:, 0].to(first)
        frames = latents.shape[1]
        images = conditioning(self.adapt.reading, first, pixels, frames)
        reference = Reference(images, self.adapt.motion_scale)
        self.remember(batch, reference, frames)
        scales = self.adapt.motion_scale * ~self.still(batch)
        return replace(reference, motion_scale=repeat(scales.to(latents), "b -> (b f)", f=frames))

    def after_update(self) -> None:
        """The targets follow: theta- <- mu theta- + (1 - mu) theta."""
        ema_update(self.encoder_minus.parameters(), self.encoder.parameters(), self.mu)
        if self.adapt.motion:
            ema_update(self.theta_minus.parameters(), self.theta.parameters(), self.mu)

    def extra_state(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._targets().items()}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        for name, parameter in self._targets().items():
            parameter.copy_(state[name])

    def _targets(self) -> dict[str, nn.Parameter]:
        targets = {f"target.{ENCODER}{k}": p for k, p in self.encoder_minus.named_parameters()}
        if self.adapt.motion:
            targets |= {f"target.{k}": p for k, p in self.theta_minus.named_parameters()}
        return targets
