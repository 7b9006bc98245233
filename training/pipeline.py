"""A model that samples clips, loaded from files or built from parts, with or without an image or hints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from animatelcm_core.formats import FormatError, build_motion_model
from animatelcm_core.schedule import SCHEDULES, TRAIN_STEPS, Schedule, custom

from .base import Base, load_base, load_motion_file
from .config import BaseConfig, ConfigError
from .lora_file import merge_lora_file
from .roles import Conditioning, Network, Parts, Role
from .samplers import Eps, Spacing, ddim, dpm, lcm, require_undistilled, spaced, with_guidance

Sampler = Literal["lcm", "ddim", "dpm++"]
Precision = Literal["no", "fp16", "bf16"]
_NO_PARTS = Parts()
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Sampling:
    """How clips are sampled. guidance: the cfg scale; `lcm` wants 1 as a rule, and spacing `simple`."""

    sampler: Sampler
    steps: int
    guidance: float = 1.0
    spacing: Spacing = "simple"

    def check(self, schedule: Schedule) -> None:
        """Raises ConfigError for what the sampler refuses on `schedule`; nothing is sampled."""
        try:
            if self.sampler == "dpm++":
                return require_undistilled(schedule, self.spacing)
            if self.sampler == "lcm" and self.spacing != "simple":
                raise ValueError(
                    f"got {self.spacing} timesteps for lcm; expected simple: it was distilled on those"
                )
            spaced(schedule, self.steps, self.spacing)
        except ValueError as error:
            raise ConfigError(str(error)) from None


@dataclass(frozen=True)
class Conditions:
    """What n clips should show. conditioning: the images they begin as, or the hints they follow."""

    captions: list[str]
    conditioning: Conditioning | None = None


@contextmanager
def _unconditioned(conditioning: Conditioning | None, frames: int) -> Iterator[None]:
    assert conditioning is None
    yield


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A model that samples clips; `load` and `of` make one.

    eps: its noise prediction; schedule: what it is sampled on.
    encode_text: captions -> context (n, 77, c).
    decode: latents (n, f, 4, h/8, w/8) -> pixels (n, f, 3, h, w) in 0..1.
    conditioned: inside `conditioned(conditioning, frames)` eps sees the images or the hints.
    """

    eps: Eps
    schedule: Schedule
    encode_text: Callable[[list[str]], Tensor]
    decode: Callable[[Tensor], Tensor]
    conditioned: Callable[[Conditioning | None, int], AbstractContextManager[None]] = _unconditioned

    @torch.inference_mode()
    def denoise(
        self,
        conditions: Conditions,
        noise: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Clean latents from `noise` (n, f, 4, h/8, w/8). generator: only `lcm` draws from it.

        Raises ConfigError for settings that the schedule does not allow.
        """
        sampling.check(self.schedule)
        context, eps, steps = self.encode_text(conditions.captions), self.eps, sampling.steps
        if sampling.guidance != 1:
            eps = with_guidance(eps, self.encode_text([""]), sampling.guidance)
        with self.conditioned(conditions.conditioning, noise.shape[1]):
            if sampling.sampler == "lcm":
                return lcm(eps, noise, context, self.schedule, steps, generator)
            solver = ddim if sampling.sampler == "ddim" else dpm
            return solver(eps, noise, context, self.schedule, steps, sampling.spacing)

    def sample(
        self,
        conditions: Conditions,
        noise: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Clips (n, f, 3, h, w) in 0..1; as `denoise`."""
        return self.decode(self.denoise(conditions, noise, sampling, generator))

    @classmethod
    def of(
        cls,
        base: Base,
        schedule: Schedule,
        parts: Parts = _NO_PARTS,
        precision: Precision = "no",
    ) -> Pipeline:
        """A pipeline of networks; without motion weights the frames of its clips are separate pictures.

        precision: of autocast.
        """
        network = Network(base.unet, parts)
        role = Role(
            parts.motion,
            0.0 if parts.lora is None else 1.0,
            encoder=parts.encoder,
            control=None if parts.control is None else 1.0,
        )
        cast = caster(base.device, precision)

        def eps(x: Tensor, t: int, context: Tensor) -> Tensor:
            n, frames = x.shape[:2]
            flat = rearrange(x, "n f c h w -> (n f) c h w").contiguous(memory_format=torch.channels_last)
            timesteps = torch.full((n * frames,), t, device=x.device)
            with cast():
                out = network(flat, timesteps, context.repeat_interleave(frames, dim=0))
            return rearrange(out, "(n f) c h w -> n f c h w", n=n)

        @torch.inference_mode()
        def decode(latents: Tensor) -> Tensor:
            with cast():
                return base.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])

        def conditioned(conditioning: Conditioning | None, frames: int) -> AbstractContextManager[None]:
            return network.acting(role, frames, conditioning)

        return cls(eps, schedule, base.encode_text, decode, conditioned)

    @classmethod
    def load(
        cls,
        config: BaseConfig,
        schedule: Schedule | None = None,
        sampler: Sampler = "lcm",
        strength: float = 1.0,
        device: torch.device | str = "cpu",
        precision: Precision = "no",
    ) -> Pipeline:
        """The pipeline of `config`'s files.

        strength: of the LoRA, which is merged. schedule: None takes the one that the motion file names.
        Pictures have Stable Diffusion's own betas: `soft` for `lcm`, the whole of it for other samplers.
        Raises FormatError, ConfigError.
        """
        base = load_merged(config, strength).to(device)
        base.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts, named = Parts(), custom("soft", original_steps=0 if sampler == "lcm" else TRAIN_STEPS)
        if config.motion is not None:
            file = load_motion_file(config.motion, config.variant)
            model = build_motion_model(file, nn, torch.float32).to(device)
            parts, named = Parts(motion=model), SCHEDULES[file.schedule]
        return cls.of(base, schedule or named, parts, precision)


def load_merged(config: BaseConfig, strength: float = 1.0) -> Base:
    """The base of `config` with the LoRA it names, if any, merged. Raises FormatError, ConfigError."""
    base = load_base(config)
    if config.lora is not None:
        try:
            merge_lora_file(base.unet, config.lora, strength)
        except FormatError:
            raise
        except ValueError as error:
            raise ConfigError(f"{error} ({config.lora})") from None
    base.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return base


def caster(device: torch.device, precision: Precision) -> Callable[[], torch.autocast]:
    """Makes the autocast context of `precision`, one that does nothing for `no`."""
    dtype = _DTYPES.get(precision, torch.bfloat16)
    return lambda: torch.autocast(device.type, dtype, enabled=precision != "no")
