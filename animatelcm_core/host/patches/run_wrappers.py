"""Wrappers around a whole sampling run that tell, in the log, what is set against the model's nature.

They see core's KSampler, SamplerCustom and any third-party sampler alike. Nothing here changes a value.
"""

from __future__ import annotations

import logging
from typing import Any

from comfy.patcher_extension import WrappersMP

from ..checks import check_frames, frame_warnings, sampling_warnings

SCHEDULE_KEY = "animatelcm.schedule"


def replace_wrapper(model: Any, kind: str, key: str, wrapper: Any) -> None:
    """Put `wrapper` where an earlier one of the same key was, if any."""
    model.remove_wrappers_with_key(kind, key)
    model.add_wrapper_with_key(kind, key, wrapper)


def say(warnings: list[str]) -> None:
    """One log line per warning."""
    for warning in warnings:
        logging.warning("AnimateLCM: %s", warning)


def watch_settings(
    executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kw: Any
):
    """OUTER_SAMPLE wrapper of a MODEL with a schedule of ours: sampler, scheduler and cfg."""
    guider = executor.class_obj
    sampling = guider.model_patcher.get_model_object("model_sampling")
    say(sampling_warnings(sampling, sampler, sigmas, getattr(guider, "cfg", None)))
    return executor(noise, latent_image, sampler, sigmas, *args, **kw)


def watch_schedule(model: Any) -> None:
    """Watch the settings of every run of `model` (a clone of the caller's)."""
    replace_wrapper(model, WrappersMP.OUTER_SAMPLE, SCHEDULE_KEY, watch_settings)


def watch_length(most: int) -> Any:
    """OUTER_SAMPLE wrapper for a motion model that knows `most` positions; refuses before loading."""

    def watch(executor: Any, noise: Any, *args: Any, **kw: Any):
        if "context_handler" not in executor.class_obj.model_options:  # else its windows are checked
            check_frames(noise.shape[0], most)
        say(frame_warnings(noise.shape[0]))
        return executor(noise, *args, **kw)

    return watch
