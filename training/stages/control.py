"""Stage three for controlled video: a LoRA on a ControlNet or T2I-Adapter (paper 4.3, Eq. 11 and 12).

The adapter was made for the undistilled image model; the LoRA, on every kind of layer, adapts it to the
distilled video model. Everything else stays as it is. The target has a moving average of the LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animatelcm_core.formats import AdapterKind, read_tensors
from animatelcm_core.motion_module import MotionModel

from ..adapters import Control, layers, published, with_lora
from ..base import Base
from ..config import HintConfig, LocalFile, RunConfig, Section
from ..data.sample import Batch
from ..export import adapter_lora_tensors, save_adapter, save_lora
from ..hints import hints_of
from ..lora import ONLINE, TARGET, Lora
from ..roles import Hints, Network, Parts, Role
from ..weights import Weights
from .previews import ConditionedPreviews
from .stage import Export
from .teacher_free import DISTILLED, TeacherFree


class ControlSection(Section):
    """A LoRA on an adapter; its rank is `lora.rank`. adapter: the adapter's file, as its authors gave it."""

    kind: AdapterKind
    adapter: LocalFile
    hint: HintConfig = HintConfig()


class ControlConfig(RunConfig):
    stage: str = "control"
    control: ControlSection

    def needs(self) -> dict[str, str]:
        return DISTILLED


class ControlStage(ConditionedPreviews[ControlConfig], TeacherFree[ControlConfig]):
    """Trains the LoRA on `adapter`, a frozen network of the kind that the config says.

    theta: the distilled motion weights. lora: the LCM LoRA, injected into the base's UNet.
    """

    name, Config = "control", ControlConfig

    def __init__(self, config: ControlConfig, base: Base, theta: MotionModel, lora: Lora, adapter: nn.Module):
        super().__init__(config, base)
        self.mu = config.mu
        self.theta = theta.to(base.device)
        torch.manual_seed(config.seed)
        self.control_lora = Lora(
            adapter, config.lora.rank, config.lora.alpha, (ONLINE, TARGET), layers(adapter)
        )
        control = Control(config.control.kind, adapter, base.unet).to(base.device)
        self.network = Network(
            base.unet,
            Parts(lora, self.theta, control=control, control_lora=self.control_lora),
            config.gradient_checkpointing,
        )
        self.online = self.network

    @classmethod
    def build(cls, config: ControlConfig, base: Base, weights: Weights) -> ControlStage:
        # The adapter first: a ControlNet begins as a copy of the UNet, which must have no LoRA yet.
        adapter = weights.adapter(config.control.kind, config.control.adapter, base.unet)
        return cls(config, base, weights.motion(), weights.lora(base.unet), adapter)

    @classmethod
    def export(cls, config: ControlConfig, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        """The LoRA, for AnimateLCM Control LoRA, and the adapter with it merged, for every loader."""
        kind, before = config.control.kind, config.control.adapter
        about = {**to.about, "animatelcm.adapter": before.name}
        tensors = adapter_lora_tensors(kind, weights, config.lora.alpha)
        lora = save_lora(to.beside("lora"), tensors, about)
        merged = with_lora(kind, published(kind, read_tensors(before)[0]), tensors)
        return [lora, save_adapter(to.path, merged, about)]

    @classmethod
    def settings(cls, config: ControlConfig) -> dict[str, Any]:
        return {"kind": config.control.kind}

    def target(self) -> Role:
        return Role(self.theta, 1.0, control=1.0, control_adapter=TARGET)

    def student(self) -> Role:
        return Role(self.theta, 1.0, control=1.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        return self.control_lora.trainable()

    def conditioning(self, batch: Batch, latents: Tensor) -> Hints:
        hints = Hints(hints_of(self.config.control.hint, batch, latents, self.base))
        self.remember(batch, hints, latents.shape[1])
        return hints

    def after_update(self) -> None:
        self.control_lora.ema_update(self.mu)

    def extra_state(self) -> dict[str, Tensor]:
        return {f"target.{k}": v.detach() for k, v in self.control_lora.parameters(TARGET).items()}

    @torch.no_grad()
    def load_extra(self, state: dict[str, Tensor]) -> None:
        for name, parameter in self.control_lora.parameters(TARGET).items():
            parameter.copy_(state[f"target.{name}"])
