"""Builds, reads and writes ControlNets and T2I-Adapters: diffusers' classes, the files that people share.

Files have the names of the networks' first releases (`zero_convs.0.0.weight`, `body.0.block1.weight`), which
ComfyUI's loader knows; diffusers' own are read too. `Control` is a network as additional inputs of the UNet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from animatelcm_core.formats import AdapterKind, adapter_lora_key, identify, read_tensors

from . import single_file
from .config import ConfigError
from .lora_file import delta, grouped

PREFIX = "control_model."  # of a ControlNet in its first files
_WORDS = {"controlnet": "a ControlNet", "t2i_adapter": "a T2I-Adapter"}


def build_adapter(
    kind: AdapterKind, unet: UNet2DConditionModel, hint_channels: int = 3, weights: bool = True
) -> nn.Module:
    """A new adapter of the sizes of `unet`.

    A ControlNet begins as a copy of the UNet's encoder and is silent; with weights False it is random. A
    T2I-Adapter is always random. It has four levels of once, twice and four times the first width, as every
    loader expects: a smaller UNet leaves the inner ones alone.
    """
    if kind == "controlnet":
        return ControlNetModel.from_unet(unet, load_weights_from_unet=weights)
    first = unet.config["block_out_channels"][0]
    channels = [first, 2 * first, 4 * first, 4 * first]
    return T2IAdapter(hint_channels, channels, num_res_blocks=2, downscale_factor=8)  # type: ignore[arg-type]


def new_adapter(kind: AdapterKind, unet: UNet2DConditionModel, hint_channels: int, seed: int) -> nn.Module:
    """An adapter to be trained from nothing, by the run's seed, in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_adapter(kind, unet, hint_channels).float()


class Control(nn.Module):
    """An adapter as additional inputs of the UNet: hints -> keyword arguments of a diffusers UNet."""

    def __init__(self, kind: AdapterKind, network: nn.Module, unet: UNet2DConditionModel):
        super().__init__()
        self.kind: AdapterKind = kind
        self.network = network
        self.levels = len(unet.config["block_out_channels"])

    def forward(self, x: Tensor, t: Tensor, context: Tensor, hints: Tensor) -> dict[str, Any]:
        """x (n, 4, h, w), t (n,), context (n, 77, c), hints (n, 3, 8 h, 8 w) in 0..1, one a picture."""
        if self.kind == "controlnet":
            down, middle = self.network(x, t, context, hints, return_dict=False)
            return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        if self.network.config["in_channels"] == 1:  # type: ignore[index]
            hints = hints.mean(1, keepdim=True)
        features = self.network(hints)
        used, rest = list(features[: self.levels]), features[self.levels :]
        if rest:  # a smaller UNet has no place for them; several processes want a gradient, if of 0, of all
            used[-1] = used[-1] + 0 * sum(feature.mean() for feature in rest)
        return {"down_intrablock_additional_residuals": used}

    def enable_gradient_checkpointing(self) -> None:
        """A T2I-Adapter is too small to be worth it."""
        if self.kind == "controlnet":
            self.network.enable_gradient_checkpointing()  # type: ignore[operator]


def layers(network: nn.Module) -> list[str]:
    """Paths of every linear and convolution layer, which a LoRA is put on."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def published_name(kind: AdapterKind, name: str) -> str:
    """diffusers' name of a parameter or module -> that of the first releases. Raises KeyError for others."""
    return _controlnet_name(name) if kind == "controlnet" else _t2i_name(name)


def _controlnet_name(name: str) -> str:
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.?(.*)", name):
        return f"zero_convs.{match[1]}.0.{match[2]}".rstrip(".")
    if match := re.fullmatch(r"controlnet_mid_block\.?(.*)", name):
        return f"middle_block_out.0.{match[1]}".rstrip(".")
    if match := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.\d+)\.?(.*)", name):
        places = {"conv_in": 0, "conv_out": 14}
        place = places.get(match[1], 2 * int(match[1].rpartition(".")[2]) + 2 if "." in match[1] else 0)
        return f"input_hint_block.{place}.{match[2]}".rstrip(".")
    if name.endswith((".weight", ".bias")):
        return single_file.unet_name(name, 2, set())
    return single_file.unet_name(f"{name}.weight", 2, set()).removesuffix(".weight")


def _t2i_name(name: str) -> str:
    name = name.removeprefix("adapter.")
    if match := re.fullmatch(r"body\.(\d+)\.resnets\.(\d+)\.(.+)", name):
        return f"body.{2 * int(match[1]) + int(match[2])}.{match[3]}"
    if match := re.fullmatch(r"body\.(\d+)\.(in_conv.*)", name):
        return f"body.{2 * int(match[1])}.{match[2]}"
    if name.startswith("conv_in"):
        return name
    raise KeyError(f"got {name}; expected a parameter of a T2I-Adapter")


def published_tensors(kind: AdapterKind, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's state under the names that a file has."""
    return {
        PREFIX * (kind == "controlnet") + published_name(kind, key): value for key, value in state.items()
    }


def load_adapter(path: Path, kind: AdapterKind, unet: UNet2DConditionModel) -> nn.Module:
    """The frozen adapter in a file, in float32.

    Raises FormatError for an unreadable or unsafe file, ConfigError for another kind, or other sizes than
    `unet` has.
    """
    tensors, _ = read_tensors(path)
    found = identify(tensors)
    if found.kind != kind:
        raise ConfigError(f"got {found.words} in {path}; expected {_WORDS[kind]} for SD1.5")
    bare = _bare(kind, tensors)
    network = build_adapter(kind, unet, _hint_channels(bare), weights=False)
    try:
        values = {
            key: bare[published_name(kind, key)].float().reshape(like.shape)
            for key, like in network.state_dict().items()
        }
    except (KeyError, RuntimeError) as error:
        raise ConfigError(
            f"got {path}; expected {_WORDS[kind]} of the sizes of the base's UNet ({error})"
        ) from None
    network.load_state_dict(values)
    return network.eval().requires_grad_(False)


def _bare(kind: AdapterKind, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names without prefix -> tensors of a file in those names or in diffusers'."""
    theirs = any(key.startswith(("controlnet_", "adapter.")) for key in tensors)
    return {
        published_name(kind, key) if theirs else key.removeprefix(PREFIX): value
        for key, value in tensors.items()
    }


def _hint_channels(tensors: Mapping[str, Tensor]) -> int:
    return tensors["conv_in.weight"].shape[1] // 64 if "conv_in.weight" in tensors else 3


def published(kind: AdapterKind, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the names of the first releases, whichever names it has."""
    return {PREFIX * (kind == "controlnet") + key: value for key, value in _bare(kind, tensors).items()}


@torch.no_grad()
def with_lora(
    kind: AdapterKind, tensors: Mapping[str, Tensor], lora: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`tensors`, as `published` gives them, plus a LoRA in the keys of its file."""
    out, ends = dict(tensors), ".weight"
    modules = {
        adapter_lora_key(kind, key.removeprefix(PREFIX).removesuffix(ends)): key
        for key in tensors
        if key.endswith(ends)
    }
    for stem, parts in grouped(lora).items():
        weight = out[modules[stem]]
        out[modules[stem]] = weight.float() + delta(parts).reshape(weight.shape)
    return out
