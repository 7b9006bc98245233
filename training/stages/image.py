"""Stage one: the LCM LoRA on single pictures (paper 4.1). The teacher is the base network alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from ..base import Base
from ..config import RunConfig
from ..export import kohya_tensors, save_lora
from ..lora import ONLINE, TARGET, Lora
from ..roles import Network, Parts, Role
from ..weights import Weights
from .distil import Distillation
from .stage import Export


class ImageConfig(RunConfig):
    """mu 0 takes the online network itself as target, as the LCM LoRA had it."""

    stage: str = "image"
    mu: float = Field(default=0.0, ge=0, lt=1)


class ImageStage(Distillation[ImageConfig]):
    """Trains the LoRA. With mu 0 the online network, without gradients, is its own target."""

    name, Config, pictures = "image", ImageConfig, True
    schedule = "soft"  # a LoRA alone lives on SD's own betas

    def __init__(self, config: ImageConfig, base: Base):
        super().__init__(config, base)
        adapters = (ONLINE, TARGET) if config.mu > 0 else (ONLINE,)
        torch.manual_seed(config.seed)
        self.lora = Lora(base.unet, config.lora.rank, config.lora.alpha, adapters)
        self.network = Network(base.unet, Parts(self.lora), config.gradient_checkpointing)
        self.online = self.network
        self.mu = config.mu

    @classmethod
    def build(cls, config: ImageConfig, base: Base, weights: Weights) -> ImageStage:
        return cls(config, base)

    @classmethod
    def export(cls, config: ImageConfig, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        """The LoRA in kohya's names."""
        return [save_lora(to.path, kohya_tensors(weights, config.lora.alpha), to.about)]

    @classmethod
    def sampled_files(cls, config: ImageConfig, exported: Path) -> dict[str, Path | None]:
        return {"lora": exported, "motion": None}

    def teacher(self) -> Role:
        return Role()

    def target(self) -> Role:
        return Role(lora=1.0, adapter=TARGET if self.mu > 0 else ONLINE)

    def student(self) -> Role:
        return Role(lora=1.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        return self.lora.trainable()

    def after_update(self) -> None:
        if self.mu > 0:
            self.lora.ema_update(self.mu)

    def extra_state(self) -> dict[str, Tensor]:
        return {k: v.detach() for k, v in self.lora.parameters(TARGET).items()} if self.mu > 0 else {}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        if self.mu > 0:
            for name, parameter in self.lora.parameters(TARGET).items():
                parameter.copy_(state[name])
