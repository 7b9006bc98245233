"""Writes trained weights as files that artists load: fp16 safetensors with metadata on their origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from animatelcm_core.config import MotionConfig
from animatelcm_core.formats import (
    HEADS_KEY,
    SCHEDULE_KEY,
    AdapterKind,
    adapter_lora_key,
    diffusers_name,
    save_motion,
    write_safetensors,
)

from .adapters import published_name
from .lora_file import kohya_name


def kohya_tensors(
    weights: Mapping[str, Tensor], alpha: float, name_of: Callable[[str], str] = kohya_name
) -> dict[str, Tensor]:
    """`<module>.lora_A` / `.lora_B` -> kohya's names with `.alpha`. name_of: a module's name in the file."""
    out: dict[str, Tensor] = {}
    for key, value in weights.items():
        module, _, part = key.rpartition(".")
        stem = name_of(module)
        out[f"{stem}.{'lora_down' if part == 'lora_A' else 'lora_up'}.weight"] = value
        out[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return out


def adapter_lora_tensors(kind: AdapterKind, weights: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The same of an adapter's LoRA, in the keys that AnimateLCM Control LoRA reads."""
    return kohya_tensors(weights, alpha, lambda module: adapter_lora_key(kind, published_name(kind, module)))


def save_adapter(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """A ControlNet or T2I-Adapter for models/controlnet, under its published names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, *_halves(tensors), metadata)
    return path


def save_lora(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """A LoRA in kohya's names with `.alpha`; the stock LoraLoader takes every key.

    Without alpha a loader would take rank / alpha times the strength. Raises OSError; an older file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rank = next(v.shape[0] for k, v in tensors.items() if k.endswith(".lora_down.weight"))
    alpha = next(float(v) for k, v in tensors.items() if k.endswith(".alpha"))
    about = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": f"{alpha:g}",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        **metadata,
    }
    write_safetensors(path, *_halves(tensors), about)
    return path


def save_motion_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: MotionConfig,
    metadata: Mapping[str, str],
    schedule: str = "text to video",
) -> Path:
    """Motion weights in the published layout, without position tables, as AnimateLCM's have none.

    tensors: with `img_encoder.` for image to video.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for key, value in tensors.items():
        check_finite(key, value.detach().to(torch.float16))
    about = {SCHEDULE_KEY: schedule, **({} if config.heads == 8 else {HEADS_KEY: str(config.heads)})}
    save_motion(path, tensors, {**about, **metadata}, torch.float16)
    return path


def save_motion_adapter(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """The same weights as diffusers' MotionAdapter names them.

    diffusers normalises over all frames at once where the authors normalise each frame: clips whose
    brightness changes come out different there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    renamed = {diffusers_name(name): tensor for name, tensor in tensors.items()}
    write_safetensors(path, *_halves(renamed), metadata)
    return path


def _halves(tensors: Mapping[str, Tensor]):
    specs = {key: (torch.float16, tuple(value.shape)) for key, value in tensors.items()}

    def half(key: str) -> torch.Tensor:
        value = tensors[key].detach().to("cpu", torch.float16).contiguous()
        check_finite(key, value)
        return value

    return specs, half


def check_finite(key: str, value: Tensor) -> None:
    """Raises FloatingPointError for a tensor that no model can be made of."""
    if not bool(torch.isfinite(value).all()):
        raise FloatingPointError(
            f"got numbers in {key} that are not finite in float16; expected finite weights up to 65504. "
            "Nothing is exported."
        )
