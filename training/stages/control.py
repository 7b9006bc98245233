"""Stage three for controlled video: a LoRA on a ControlNet or T2I-Adapter (paper 4.3, Eq. 11 and 12).

The adapter was made for the undistilled image model; the LoRA, on every kind of layer, adapts it to the
distilled video model. Everything else stays as it is. The target has a moving average of the LoRA.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from animatelcm_core.motion_module import MotionModel

from ..adapters import Control, layers
from ..base import Base
from ..config import AdaptConfig, ControlSection
from ..data.sample import Batch
from ..hints import hints_of
from ..lora import ONLINE, TARGET, Lora
from ..roles import Hints, Network, Parts, Role
from .previews import ConditionedPreviews
from .teacher_free import TeacherFree


class ControlStage(ConditionedPreviews, TeacherFree):
    """Trains the LoRA on `adapter`, a frozen network of the kind that the config says.

    theta: the distilled motion weights. lora: the LCM LoRA, injected into the base's UNet.
    """

    def __init__(self, config: AdaptConfig, base: Base, theta: MotionModel, lora: Lora, adapter: nn.Module):
        super().__init__(config, base)
        section = config.adapt
        assert isinstance(section, ControlSection)
        self.hint, self.mu = section.hint, config.mu
        self.theta = theta.to(base.device)
        torch.manual_seed(config.seed)
        self.control_lora = Lora(
            adapter, config.lora.rank, config.lora.alpha, (ONLINE, TARGET), layers(adapter)
        )
        control = Control(section.network, adapter, base.unet).to(base.device)
        self.network = Network(
            base.unet,
            Parts(lora, self.theta, control=control, control_lora=self.control_lora),
            config.gradient_checkpointing,
        )
        self.online = self.network

    def target(self) -> Role:
        return Role(self.theta, 1.0, control=1.0, control_adapter=TARGET)

    def student(self) -> Role:
        return Role(self.theta, 1.0, control=1.0)

    def trainable(self) -> dict[str, nn.Parameter]:
        return self.control_lora.trainable()

    def conditioning(self, batch: Batch, latents: Tensor) -> Hints:
        hints = Hints(hints_of(self.hint, batch, latents, self.base))
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
