"""Samples a clip on its MODEL's own schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...schedule import TRAIN_STEPS, Schedule
from ..tensors import check_text_fits, is_finite
from .latents import filled, frames_of
from .lcm import lcm_sampler
from .model_sampling import schedule_of
from .settings import sampling_warnings


def sigmas_for(model: Any, steps: int, denoise: float = 1.0) -> Tensor:
    """(steps + 1,) noise levels at the authors' timesteps of MODEL's schedule, then 0; empty for denoise 0.

    denoise: the authors' strength, the share of the known timesteps that is sampled.
    Raises ValueError if MODEL has no schedule of ours, or fewer timesteps than steps.
    """
    schedule = _required_schedule(model)
    if denoise <= 0:
        return torch.zeros(0)
    timesteps = schedule.timesteps(steps, denoise)
    sigmas = model.get_model_object("model_sampling").sigmas
    return torch.cat([sigmas[timesteps // schedule.skip], torch.zeros(1)])


def _required_schedule(model: Any) -> Schedule:
    schedule = schedule_of(model)
    if schedule is None:
        raise ValueError(
            "got a MODEL without a schedule of this pack; expected one. Put AnimateLCM Model Sampling or "
            "AnimateLCM Apply Motion Model on it, as the last node that sets a schedule."
        )
    return schedule


@dataclass(frozen=True)
class Settings:
    """Numbers of a run. denoise: share of the schedule that is sampled; 1 starts from pure noise."""

    seed: int
    steps: int
    cfg: float = 1.0
    denoise: float = 1.0


def sample_clip(
    model: Any, positive: Any, negative: Any, latent: dict[str, Any], settings: Settings
) -> tuple[dict[str, Any], list[str]]:
    """LATENT of the sampled clip, and warnings about the settings. Masks work as in KSampler.

    Raises ValueError for a MODEL that is not distilled, for everything `sigmas_for` refuses, and for a result
    that is not finite.
    """
    if _required_schedule(model).original_steps == TRAIN_STEPS:
        raise ValueError(
            "got a MODEL on the schedule animatediff, which is not distilled; expected an AnimateLCM "
            "schedule. Use KSampler with 20 or more steps and cfg 7, or choose the schedule text to video "
            "with an AnimateLCM model."
        )
    samples = frames_of(model, latent)
    check_text_fits(model, "positive", positive)
    if settings.cfg != 1:  # else nobody looks at it
        check_text_fits(model, "negative", negative)
    sampler, sigmas = lcm_sampler(), sigmas_for(model, settings.steps, settings.denoise)
    warnings = sampling_warnings(model.get_model_object("model_sampling"), sampler, sigmas, settings.cfg)
    noise = comfy.sample.prepare_noise(samples, settings.seed, latent.get("batch_index"))
    result = comfy.sample.sample_custom(
        model,
        noise,
        settings.cfg,
        sampler,
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, settings.steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=settings.seed,
    )
    if not is_finite(result):
        raise ValueError(
            f"got a clip with numbers that are not finite at cfg {settings.cfg:g}; expected finite ones: it "
            "would be black. Set cfg to 1, take off LoRAs and ControlNets one by one, or start ComfyUI with "
            "--force-fp32: half precision is too little for some checkpoints. If all of that fails, a "
            "file is damaged."
        )
    return filled(latent, result), warnings
