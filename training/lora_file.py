"""LoRA files in kohya's names, merged into a diffusers UNet.

`lora_unet_<module path with dots as underscores>.lora_down.weight`, `.lora_up.weight` and `.alpha`:
W <- W + scale (alpha / rank) up down; down is (r, in) or (r, in, k, k), up (out, r) or (out, r, 1, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from animatelcm_core.formats import read_tensors
from animatelcm_core.formats.kohya import FACTORS, PARTS, by_module

PREFIX = "lora_unet_"


def kohya_name(path: str) -> str:
    """Name that a LoRA file has for the module at `path`, e.g. `down_blocks.0.resnets.1.conv1`."""
    return PREFIX + path.replace(".", "_")


def grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Module name in the file -> its parts by name. Raises ValueError for other keys."""
    for key in tensors:
        if key.partition(".")[2] not in PARTS:
            raise ValueError(
                f"got the key {key}; expected {PREFIX}<module> with one of {', '.join(PARTS)}. Use a LoRA "
                "in kohya's names."
            )
    return by_module(tensors)


def delta(parts: Mapping[str, Tensor]) -> Tensor:
    """(alpha / rank) up down in float32: (out, in) or (out, in, k, k). Without alpha the factor is 1."""
    down, up = parts["lora_down.weight"].float(), parts["lora_up.weight"].float()
    rank = down.shape[0]
    alpha = float(parts["alpha"]) if "alpha" in parts else rank
    product = up.reshape(up.shape[0], rank) @ down.reshape(rank, -1)
    return (alpha / rank) * product.reshape(up.shape[0], *down.shape[1:])


@torch.no_grad()
def merge_lora(unet: nn.Module, tensors: Mapping[str, Tensor], scale: float = 1.0) -> int:
    """Add the LoRA to the weights of `unet`, in place; returns how many layers it changed.

    Raises ValueError, before anything is changed, for a key that names no layer of `unet`, half a pair, or a
    shape that does not fit.
    """
    layers = {
        kohya_name(path): module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    changes: list[tuple[Tensor, Tensor]] = []
    for name, parts in grouped(tensors).items():
        if name not in layers:
            raise ValueError(f"got the key {name}; expected a layer of this UNet. Use a LoRA made for it.")
        missing = [part for part in FACTORS if part not in parts]
        if missing:
            raise ValueError(f"got {name} without {missing[0]}; expected both factors. The file is damaged.")
        weight = layers[name].weight
        change = delta(parts)
        if change.numel() != weight.numel() or change.shape[:2] != weight.shape[:2]:
            raise ValueError(f"got {name} for a weight {tuple(change.shape)}; expected {tuple(weight.shape)}")
        changes.append((weight, change.reshape(weight.shape)))
    for weight, change in changes:
        weight.add_((scale * change).to(weight.dtype))
    return len(changes)


def merge_lora_file(unet: nn.Module, path: Path, scale: float = 1.0) -> int:
    """`merge_lora` with the LoRA at `path`."""
    return merge_lora(unet, read_tensors(path)[0], scale)
