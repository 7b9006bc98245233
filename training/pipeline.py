"""What is evaluated: networks that sample clips, put together from files; and how they are sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from animatelcm_core.formats import FormatError, build_motion_model
from animatelcm_core.schedule import SCHEDULES, TRAIN_STEPS, Schedule, custom

from .base import Base, load_base, load_motion_file
from .config import BaseConfig, ConfigError
from .lora_file import merge_lora_file
from .samplers import Eps, Spacing, ddim, dpm, guided, lcm, unet_eps

Sampler = Literal["lcm", "ddim", "dpm++"]
Precision = Literal["no", "fp16", "bf16"]
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Arm:
    """A model that clips are sampled from.

    eps: its noise prediction; schedule: what it is sampled on.
    encode: captions -> context (n, 77, c).
    decode: latents (n, f, 4, h/8, w/8) -> pixels (n, f, 3, h, w) in 0..1.
    """

    name: str
    eps: Eps
    schedule: Schedule
    encode: Callable[[list[str]], Tensor]
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """How clips are sampled. `spacing` is `simple`, and guidance as a rule 1, for the consistency sampler."""

    sampler: Sampler
    steps: int
    guidance: float = 1.0
    spacing: Spacing = "simple"


def denoise(
    arm: Arm, setting: Setting, captions: list[str], noise: Tensor, generator: torch.Generator
) -> Tensor:
    """Clean latents of the captions from `noise` (n, f, 4, h, w). generator: only `lcm` draws from it.

    Raises ValueError for a setting that the arm's schedule does not allow.
    """
    context = arm.encode(captions)
    if setting.sampler == "lcm":
        if setting.spacing != "simple":
            raise ValueError(
                f"got {setting.spacing} timesteps for lcm; expected simple: it was distilled on those"
            )
        eps = arm.eps if setting.guidance == 1 else guided(arm.eps, arm.encode([""]), setting.guidance)
        return lcm(eps, noise, context, arm.schedule, setting.steps, generator)
    solver = ddim if setting.sampler == "ddim" else dpm
    return solver(
        arm.eps,
        noise,
        context,
        arm.encode([""]),
        arm.schedule,
        setting.steps,
        setting.guidance,
        setting.spacing,
    )


def check(setting: Setting, schedule: Schedule) -> None:
    """Raises ConfigError for a setting that `schedule` does not allow: before any network is evaluated."""
    noise = torch.zeros(1, 1, 4, 1, 1)
    still = Arm("", lambda x, t, c: x, schedule, lambda texts: torch.zeros(len(texts), 1, 1), lambda x: x)
    try:
        denoise(still, setting, [""], noise, torch.Generator())
    except ValueError as error:
        raise ConfigError(str(error)) from None


def load(
    config: BaseConfig,
    name: str = "",
    strength: float = 1.0,
    schedule: Schedule | None = None,
    sampler: Sampler = "lcm",
    device: torch.device | str = "cpu",
    precision: Precision = "no",
) -> Arm:
    """The arm of `config`'s files; without motion weights its frames are separate pictures.

    strength: of the LoRA, which is merged. precision: of autocast; weights and samplers stay as they are.
    schedule: None takes the one that the motion file names. Pictures have Stable Diffusion's own betas:
    `soft` for `lcm`, the whole of it for other samplers. Raises FormatError, ConfigError.
    """
    base = load_base(config)
    merge_lora_of(config, base, strength)
    base.to(device)
    blocks, named = None, custom("soft", original_steps=0 if sampler == "lcm" else TRAIN_STEPS)
    if config.motion is not None:
        file = load_motion_file(config.motion, config.variant)
        motion: nn.Module = build_motion_model(file, nn, torch.float32)
        blocks, named = motion.to(device).blocks(), SCHEDULES[file.schedule]
    for model in (base.unet, base.vae):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cast = caster(base.device, precision)

    def eps(x: Tensor, t: int, context: Tensor) -> Tensor:
        with cast():
            return network(x, t, context)

    def decode(latents: Tensor) -> Tensor:
        with torch.inference_mode(), cast():
            return base.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])

    network = unet_eps(base.unet, blocks)
    return Arm(name, eps, schedule or named, base.encode_text, decode)


def merge_lora_of(config: BaseConfig, base: Base, strength: float) -> None:
    """Merge the LoRA that `config` names, if any. Raises FormatError, ConfigError."""
    if config.lora is None:
        return
    try:
        merge_lora_file(base.unet, config.lora, strength)
    except FormatError:
        raise
    except ValueError as error:
        raise ConfigError(f"{error} ({config.lora})") from None


def caster(device: torch.device, precision: Precision) -> Callable[[], torch.autocast]:
    """Makes the autocast context of `precision`, one that does nothing for `no`."""
    dtype = _DTYPES.get(precision, torch.bfloat16)
    return lambda: torch.autocast(device.type, dtype, enabled=precision != "no")
