"""Stage two: the motion weights on clips (paper 4.1, Fig. 3). The teacher is base plus motion weights phi.

rho is how much of the LoRA the target has. The paper puts the LoRA into the online model only and lets the
moving average carry it over: with a frozen LoRA that is rho_k = 1 - mu^k, exactly, and no second copy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from animatelcm_core.motion_module import MotionModel, zero_init

from ..base import Base
from ..config import ConfigError, RunConfig
from ..ema import ema_update
from ..export import kohya_tensors, save_lora, save_motion_adapter, save_motion_weights
from ..lora import ONLINE, TARGET, Lora
from ..roles import Network, Parts, Role
from ..variants import find_variant
from ..weights import Weights
from .distil import Distillation
from .stage import Export


class VideoConfig(RunConfig):
    """arm and temporal_init: the paper's ablation (5.2).

    arm: `paper` inserts the LoRA in the online model only, the target grows it by its moving average;
    `without_init` has it in both from the start; `without_decouple` starts a new LoRA and trains it with the
    motion weights. temporal_init: `teacher` starts from the teacher's motion weights, `zero` from none.
    """

    stage: str = "video"
    arm: Literal["paper", "without_init", "without_decouple"] = "paper"
    temporal_init: Literal["teacher", "zero"] = "teacher"

    @property
    def own_lora(self) -> bool:
        """Whether the LoRA is trained along, from nothing."""
        return self.arm == "without_decouple"

    def needs(self) -> dict[str, str]:
        lora = {} if self.own_lora else {"lora": f"the image stage's LoRA for arm {self.arm}"}
        return {"motion": "the teacher's motion weights (AnimateDiff v2 or v3)", **lora}


class VideoStage(Distillation[VideoConfig]):
    """Trains the temporal modules; in the arm `without_decouple` a new LoRA along with them.

    phi: the teacher's motion weights. lora: the image stage's, injected into the base's UNet; the arm
    `without_decouple` makes its own.
    """

    name, Config = "video", VideoConfig

    def __init__(self, config: VideoConfig, base: Base, phi: MotionModel, lora: Lora | None):
        super().__init__(config, base)
        self.mu = config.mu
        self.phi = phi.to(base.device)
        torch.manual_seed(config.seed)
        if config.own_lora:
            lora = Lora(base.unet, config.lora.rank, config.lora.alpha, (ONLINE, TARGET))
        assert lora is not None
        self.lora = lora
        self.theta = copy.deepcopy(self.phi)
        if config.temporal_init == "zero":
            zero_init(self.theta)
        self.theta_minus = copy.deepcopy(self.theta)
        self.rho = 0.0 if config.arm == "paper" else 1.0
        self.network = Network(base.unet, Parts(self.lora, self.theta), config.gradient_checkpointing)
        self.online = self.network

    @classmethod
    def build(cls, config: VideoConfig, base: Base, weights: Weights) -> VideoStage:
        return cls(config, base, weights.motion(), None if config.own_lora else weights.lora(base.unet))

    @classmethod
    def export(cls, config: VideoConfig, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        """The motion weights, after the LoRA if that was trained along."""
        lora = {k.removeprefix("lora."): v for k, v in weights.items() if ".lora_" in k}
        motion = {k: v for k, v in weights.items() if ".lora_" not in k}
        written = []
        if lora:
            written.append(save_lora(to.beside("lora"), kohya_tensors(lora, config.lora.alpha), to.about))
        sizes = find_variant(config.base.variant).motion
        written.append(save_motion_weights(to.path, motion, sizes, to.about))
        if to.diffusers:
            written.append(save_motion_adapter(to.beside("diffusers"), motion, to.about))
        return written

    @classmethod
    def sampled_files(cls, config: VideoConfig, exported: Path) -> dict[str, Path | None]:
        lora = exported.with_name(f"{config.name}_lora.safetensors")
        return {"motion": exported, "lora": lora if lora.is_file() else config.base.lora}

    @classmethod
    def settings(cls, config: VideoConfig) -> dict[str, Any]:
        return {"arm": config.arm}

    def teacher(self) -> Role:
        return Role(self.phi)

    def target(self) -> Role:
        adapter = TARGET if self.config.own_lora else ONLINE
        return Role(self.theta_minus, self.rho, adapter)

    def student(self) -> Role:
        return Role(self.theta, 1.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        parameters = dict(self.theta.requires_grad_(True).named_parameters())
        if self.config.own_lora:
            parameters |= {f"lora.{name}": p for name, p in self.lora.trainable().items()}
        return parameters

    def after_update(self) -> None:
        """theta- <- mu theta- + (1 - mu) theta, and the LoRA with it."""
        ema_update(self.theta_minus.parameters(), self.theta.parameters(), self.mu)
        if self.config.own_lora:
            self.lora.ema_update(self.mu)
        elif self.config.arm == "paper":
            self.rho = self.mu * self.rho + (1 - self.mu)

    def metrics(self) -> dict[str, float]:
        return {"rho": self.rho}

    def extra_state(self) -> dict[str, Tensor]:
        state = {f"target.{name}": p.detach() for name, p in self.theta_minus.named_parameters()}
        if self.config.own_lora:
            state |= {f"target.lora.{k}": v.detach() for k, v in self.lora.parameters(TARGET).items()}
        return state | {"rho": torch.tensor(self.rho, dtype=torch.float64)}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        for name, parameter in self.theta_minus.named_parameters():
            parameter.copy_(state[f"target.{name}"])
        if self.config.own_lora:
            for name, parameter in self.lora.parameters(TARGET).items():
                parameter.copy_(state[f"target.lora.{name}"])
        rho = float(state["rho"])
        if not 0 <= rho <= 1:
            raise ConfigError(f"got rho {rho} in extra.safetensors of a checkpoint; expected 0 to 1")
        self.rho = rho
