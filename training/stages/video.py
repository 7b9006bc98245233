"""Stage two: the motion weights on clips (paper 4.1, Fig. 3). The teacher is base plus motion weights phi.

rho is how much of the LoRA the target has. The paper puts the LoRA into the online model only and lets the
moving average carry it over: with a frozen LoRA that is rho_k = 1 - mu^k, exactly, and no second copy.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from animatelcm_core.motion_module import MotionModel, zero_init

from ..base import Base
from ..config import VideoConfig
from ..ema import ema_update
from ..lora import ONLINE, TARGET, Lora
from ..roles import Network, Parts, Role
from .distil import Distillation


class VideoStage(Distillation):
    """Trains the temporal modules; in the arm `without_decouple` a new LoRA along with them.

    phi: the teacher's motion weights. lora: the image stage's, injected into the base's UNet; the arm
    `without_decouple` makes its own.
    """

    def __init__(self, config: VideoConfig, base: Base, phi: MotionModel, lora: Lora | None):
        super().__init__(config, base)
        self.arm, self.mu = config.arm, config.mu
        self.phi = phi.to(base.device)
        torch.manual_seed(config.seed)
        if self.arm == "without_decouple":
            lora = Lora(base.unet, config.lora.rank, config.lora.alpha, (ONLINE, TARGET))
        assert lora is not None
        self.lora = lora
        self.theta = copy.deepcopy(self.phi)
        if config.temporal_init == "zero":
            zero_init(self.theta)
        self.theta_minus = copy.deepcopy(self.theta)
        self.rho = 0.0 if self.arm == "paper" else 1.0
        self.network = Network(base.unet, Parts(self.lora, self.theta), config.gradient_checkpointing)
        self.online = self.network

    def teacher(self) -> Role:
        return Role(self.phi)

    def target(self) -> Role:
        adapter = TARGET if self.arm == "without_decouple" else ONLINE
        return Role(self.theta_minus, self.rho, adapter)

    def student(self) -> Role:
        return Role(self.theta, 1.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        parameters = dict(self.theta.requires_grad_(True).named_parameters())
        if self.arm == "without_decouple":
            parameters |= {f"lora.{name}": p for name, p in self.lora.trainable().items()}
        return parameters

    def after_update(self) -> None:
        """theta- <- mu theta- + (1 - mu) theta, and the LoRA with it."""
        ema_update(self.theta_minus.parameters(), self.theta.parameters(), self.mu)
        if self.arm == "without_decouple":
            self.lora.ema_update(self.mu)
        elif self.arm == "paper":
            self.rho = self.mu * self.rho + (1 - self.mu)

    def metrics(self) -> dict[str, float]:
        return {"rho": self.rho}

    def extra_state(self) -> dict[str, Tensor]:
        state = {f"target.{name}": p.detach() for name, p in self.theta_minus.named_parameters()}
        if self.arm == "without_decouple":
            state |= {f"target.lora.{k}": v.detach() for k, v in self.lora.parameters(TARGET).items()}
        return state | {"rho": torch.tensor(self.rho, dtype=torch.float64)}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        for name, parameter in self.theta_minus.named_parameters():
            parameter.copy_(state[f"target.{name}"])
        if self.arm == "without_decouple":
            for name, parameter in self.lora.parameters(TARGET).items():
                parameter.copy_(state[f"target.lora.{name}"])
        self.rho = float(state["rho"])
