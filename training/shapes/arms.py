"""Models to be measured: exported files put together as something that samples clips."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from animatelcm_core.formats import load_motion, read_tensors
from animatelcm_core.motion_module import MotionModel
from animatelcm_core.schedule import SCHEDULES, Schedule

from ..lora_file import merge_lora_file
from ..samplers import Eps, Spacing, ddim, dpm, lcm, unet_eps
from . import networks, world
from .export import restore_checkpoint
from .gates import decode
from .loop import step_generator

Sampler = Literal["lcm", "ddim", "dpm++"]


@dataclass(frozen=True, eq=False)
class Arm:
    """A model that clips are sampled from.

    eps: its noise prediction; schedule: what it is sampled on.
    encode: captions -> context (n, 77, c); decode: latents (n, f, 4, 8, 8) -> pixels (n, f, 3, 64, 64), 0..1.
    """

    name: str
    eps: Eps
    schedule: Schedule
    encode: Callable[[list[str]], Tensor]
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Files:
    """Exported files of one arm: single-file checkpoint, motion weights, LoRA in kohya's names or none."""

    checkpoint: Path
    motion: Path
    lora: Path | None = None

    def digest(self) -> str:
        return digest(*(path for path in (self.checkpoint, self.motion, self.lora) if path))


def digest(*paths: Path) -> str:
    """Short hash of files' contents, so that a run is never mixed out of two models."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def build(name: str, files: Files, schedule: Schedule | None = None) -> Arm:
    """The arm of exported files. Without `schedule` it is the one that the motion file names."""
    image, vae = restore_checkpoint(files.checkpoint)
    if files.lora is not None:
        merge_lora_file(image.unet, files.lora)
    tensors, metadata = read_tensors(files.motion)
    file = load_motion(tensors, metadata, files.motion.name)
    motion = MotionModel(file.config)
    motion.load_state_dict({key: value.float() for key, value in file.motion.items()})
    motion.set_positions(file.positions)
    for model in (image.unet, vae):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    blocks = motion.eval().requires_grad_(False).blocks()

    def encode(captions: list[str]) -> Tensor:
        with torch.inference_mode():
            return networks.encode_text(image.text, captions)

    return Arm(
        name,
        unet_eps(image.unet, blocks),
        schedule or SCHEDULES[file.schedule],
        encode,
        lambda latents: decode(vae, latents),
    )


@dataclass(frozen=True)
class Setting:
    """How clips are sampled. `spacing` is `simple`, and guidance 1, for the consistency sampler."""

    sampler: Sampler
    steps: int
    guidance: float = 1.0
    spacing: Spacing = "simple"


def sample(arm: Arm, setting: Setting, captions: list[str], seed: int, start: int = 0) -> Tensor:
    """Clips (n, f, 3, 64, 64) in 0..1 of the captions.

    Noise depends on (seed, start) alone: every arm and setting gets the same, clip by clip.
    """
    shape = (len(captions), world.FRAMES, 4, world.SIZE // 8, world.SIZE // 8)
    noise = torch.randn(shape, generator=step_generator(seed, start))
    context = arm.encode(captions)
    if setting.sampler == "lcm":
        generator = step_generator(seed + 1, start)
        return arm.decode(lcm(arm.eps, noise, context, arm.schedule, setting.steps, generator))
    solver = ddim if setting.sampler == "ddim" else dpm
    latents = solver(
        arm.eps,
        noise,
        context,
        arm.encode([""]),
        arm.schedule,
        setting.steps,
        setting.guidance,
        setting.spacing,
    )
    return arm.decode(latents)
