"""Stage one: the LCM LoRA on single pictures (paper 4.1). The teacher is the base network alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base import Base
from ..config import ImageConfig
from ..lora import ONLINE, TARGET, Lora
from ..roles import Network, Parts, Role
from .distil import Distillation


class ImageStage(Distillation):
    """Trains the LoRA. With mu 0 the online network, without gradients, is its own target."""

    schedule = "soft"  # a LoRA alone lives on SD's own betas

    def __init__(self, config: ImageConfig, base: Base):
        super().__init__(config, base)
        adapters = (ONLINE, TARGET) if config.mu > 0 else (ONLINE,)
        torch.manual_seed(config.seed)
        self.lora = Lora(base.unet, config.lora.rank, config.lora.alpha, adapters)
        self.network = Network(base.unet, Parts(self.lora), config.gradient_checkpointing)
        self.online = self.network
        self.mu = config.mu

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
