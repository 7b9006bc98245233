"""The frozen weights of a run: from the files that its config names, or seeded random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from animatelcm_core.formats import AdapterKind
from animatelcm_core.motion_module import MotionModel

from .adapters import build_adapter, load_adapter
from .base import Base, load_base, load_motion_model
from .config import RunConfig
from .lora import Lora, load_lora
from .sd15 import BOS, EOS, TOKENS
from .variants import find_variant


class Weights(Protocol):
    """Loads frozen weights onto the CPU. `lora` injects the image stage's LoRA into `unet`.

    hint_channels: of an adapter that is not read from its file.
    """

    def base(self) -> Base: ...

    def motion(self) -> MotionModel: ...

    def lora(self, unet: nn.Module) -> Lora: ...

    def adapter(
        self, kind: AdapterKind, path: Path, unet: UNet2DConditionModel, hint_channels: int = 3
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Files:
    """The files of a real run. Raises FormatError, ConfigError."""

    config: RunConfig

    def base(self) -> Base:
        return load_base(self.config.base)

    def motion(self) -> MotionModel:
        assert self.config.base.motion is not None
        return load_motion_model(self.config.base.motion, self.config.base.variant)

    def lora(self, unet: nn.Module) -> Lora:
        assert self.config.base.lora is not None
        return load_lora(unet, self.config.base.lora)

    def adapter(
        self, kind: AdapterKind, path: Path, unet: UNet2DConditionModel, hint_channels: int = 3
    ) -> nn.Module:
        return load_adapter(path, kind, unet)


@dataclass(frozen=True)
class RandomWeights:
    """The same networks without any file: to measure speed and memory, and for tests."""

    config: RunConfig

    def base(self) -> Base:
        variant, dtype = find_variant(self.config.base.variant), getattr(torch, self.config.base.dtype)
        with self._seeded(0):
            parts = variant.build_unet(), variant.build_vae(), variant.build_text()
        for part in parts:
            nn.Module.to(part, dtype)  # diffusers' own `to` warns of any change of type
            part.eval().requires_grad_(False)
        return Base(variant.name, *parts, _no_words, f"{variant.name}:random:{self.config.seed}")

    def motion(self) -> MotionModel:
        with self._seeded(1):
            model = MotionModel(find_variant(self.config.base.variant).motion)
        return model.eval().requires_grad_(False)

    def lora(self, unet: nn.Module) -> Lora:
        with self._seeded(2), torch.no_grad():
            lora = Lora(unet, self.config.lora.rank, self.config.lora.alpha)
            for name, parameter in lora.parameters().items():
                if name.endswith("lora_B"):  # zero in a new LoRA
                    parameter.normal_(std=0.02)
        return lora

    def adapter(
        self, kind: AdapterKind, path: Path, unet: UNet2DConditionModel, hint_channels: int = 3
    ) -> nn.Module:
        if path.is_file():  # the adapter itself may be there
            return load_adapter(path, kind, unet)
        with self._seeded(3), torch.no_grad():
            network = build_adapter(kind, unet, hint_channels)
            for name, parameter in network.named_parameters():
                if name.startswith(
                    ("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")
                ):
                    parameter.normal_(std=0.02)  # zero in a new ControlNet
        return network.eval().requires_grad_(False)

    @contextmanager
    def _seeded(self, part: int) -> Iterator[None]:
        """Seed each part by itself; the run's random state stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed + part)
            yield


def _no_words(captions: list[str]) -> Tensor:
    """Tokens of empty captions: a real tokenizer would need files."""
    tokens = torch.full((len(captions), TOKENS), EOS)
    tokens[:, 0] = BOS
    return tokens
