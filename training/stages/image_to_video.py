"""Stage three for image to video: the image encoder, alone or with the motion weights (paper 4.3, Eq. 11).

Base and LoRA stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from einops import repeat
from pydantic import Field
from torch import Tensor, nn

from animatelcm_core.formats import load_motion, read_tensors
from animatelcm_core.motion_module import MotionModel

from ..base import Base
from ..config import ConfigError, RunConfig, Section
from ..data.sample import Batch
from ..ema import ema_update
from ..export import save_motion_weights
from ..image_conditioning import build_encoder, conditioning
from ..lora import Lora
from ..randomness import sample_generator
from ..roles import Network, Parts, Reference, Role
from ..variants import find_variant
from ..weights import Weights
from .previews import ConditionedPreviews
from .stage import Export
from .teacher_free import DISTILLED, TeacherFree

ENCODER = "img_encoder."


class EncoderSection(Section):
    """An image encoder from nothing.

    reading: how the image is given (training/image_conditioning.py); only `latents` can be exported.
    motion: whether the motion weights learn along, at `motion_rate` times the learning rate.
    motion_scale: as the clips will be sampled; the authors use 0.8.
    static_share: share of the clips that stand still, at motion scale 0. Without any, the motion weights may
    ignore the scale.
    """

    reading: Literal["latents", "pixels", "first_frame"] = "latents"
    motion: bool = False
    motion_rate: float = Field(default=1.0, gt=0)
    motion_scale: float = Field(default=0.8, ge=0, le=2)
    static_share: float = Field(default=0.0, ge=0, lt=1)


class ImageToVideoConfig(RunConfig):
    stage: str = "image-to-video"
    image_encoder: EncoderSection = EncoderSection()

    def needs(self) -> dict[str, str]:
        return DISTILLED


class ImageToVideoStage(ConditionedPreviews[ImageToVideoConfig], TeacherFree[ImageToVideoConfig]):
    """Trains an image encoder from nothing, and the motion weights along if the config says so.

    theta: the distilled motion weights. lora: the LCM LoRA, injected into the base's UNet.
    """

    name, Config = "image-to-video", ImageToVideoConfig
    schedule = "image to video"

    def __init__(self, config: ImageToVideoConfig, base: Base, theta: MotionModel, lora: Lora):
        super().__init__(config, base)
        self.section, self.mu = config.image_encoder, config.mu
        self.theta = theta.to(base.device)
        channels = find_variant(config.base.variant).motion.channels
        self.encoder = build_encoder(channels, self.section.reading, config.seed).to(base.device)
        self.encoder_minus = copy.deepcopy(self.encoder).requires_grad_(False)
        self.theta_minus = copy.deepcopy(theta) if self.section.motion else theta
        self.network = Network(
            base.unet, Parts(lora, self.theta, self.encoder), config.gradient_checkpointing
        )
        self.online = self.network

    @classmethod
    def build(cls, config: ImageToVideoConfig, base: Base, weights: Weights) -> ImageToVideoStage:
        return cls(config, base, weights.motion(), weights.lora(base.unet))

    @classmethod
    def can_export(cls, config: ImageToVideoConfig) -> bool:
        return config.image_encoder.reading == "latents"

    @classmethod
    def export(cls, config: ImageToVideoConfig, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        """The image encoder with its motion weights: those trained along, or else the base's."""
        if not cls.can_export(config):
            raise ConfigError(
                f"got a run with image_encoder.reading {config.image_encoder.reading}; expected latents: the "
                "released layout has no place for another. Such a run is for comparison."
            )
        if not config.image_encoder.motion:
            assert config.base.motion is not None
            weights = {**load_motion(*read_tensors(config.base.motion)).motion, **weights}
        sizes = find_variant(config.base.variant).motion
        return [save_motion_weights(to.path, weights, sizes, to.about, cls.schedule)]

    def target(self) -> Role:
        return Role(self.theta_minus, 1.0, encoder=self.encoder_minus)

    def student(self) -> Role:
        return Role(self.theta, 1.0, encoder=self.encoder)

    def trainable(self) -> dict[str, nn.Parameter]:
        parameters = {ENCODER + k: p for k, p in self.encoder.requires_grad_(True).named_parameters()}
        if self.section.motion:
            parameters |= dict(self.theta.requires_grad_(True).named_parameters())
        return parameters

    def lr_factor(self, name: str) -> float:
        return 1.0 if name.startswith(ENCODER) else self.section.motion_rate

    def encode_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Latents and context; a static clip is its first frame, held."""
        latents, context = super().encode_batch(batch)
        static = self.is_static(batch).to(latents.device)[:, None, None, None, None]
        return torch.where(static, latents[:, :1], latents), context

    def is_static(self, batch: Batch) -> Tensor:
        """(b,) which clips stand still. Drawn by generators of its own: the noise stays as it would be."""
        draws = [sample_generator(~self.config.seed, p) for p in batch.positions.tolist()]
        return torch.stack([torch.rand((), generator=g) < self.section.static_share for g in draws])

    def conditioning(self, batch: Batch, latents: Tensor) -> Reference:
        """The first frame of each clip, and how much it may move."""
        first, pixels = latents[:, 0], None
        if self.section.reading == "pixels":
            clips = batch.pixels
            pixels = self.base.decode(first) * 2 - 1 if clips is None else clips[:, 0].to(first)
        frames = latents.shape[1]
        images = conditioning(self.section.reading, first, pixels, frames)
        reference = Reference(images, self.section.motion_scale)
        self.remember(batch, reference, frames)
        scales = self.section.motion_scale * ~self.is_static(batch)
        return replace(reference, motion_scale=repeat(scales.to(latents), "b -> (b f)", f=frames))

    def after_update(self) -> None:
        """theta- <- mu theta- + (1 - mu) theta, the encoder's likewise."""
        ema_update(self.encoder_minus.parameters(), self.encoder.parameters(), self.mu)
        if self.section.motion:
            ema_update(self.theta_minus.parameters(), self.theta.parameters(), self.mu)

    def extra_state(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._targets().items()}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        for name, parameter in self._targets().items():
            parameter.copy_(state[name])

    def _targets(self) -> dict[str, nn.Parameter]:
        targets = {f"target.{ENCODER}{k}": p for k, p in self.encoder_minus.named_parameters()}
        if self.section.motion:
            targets |= {f"target.{k}": p for k, p in self.theta_minus.named_parameters()}
        return targets
