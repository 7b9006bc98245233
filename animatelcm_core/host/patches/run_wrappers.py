"""Sampling-run wrappers that warn about settings the model was not made for, or refuse them.

They see core's KSampler, SamplerCustom and any third-party sampler alike. Nothing here changes a value.
"""

from __future__ import annotations

from typing import Any

from ..checks import check_frames, frame_warnings
from ..messages import log
from ..sampling.settings import sampling_warnings


def watch_settings(
    executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kw: Any
):
    """OUTER_SAMPLE wrapper of a MODEL with a schedule of ours: sampler, scheduler and cfg."""
    guider = executor.class_obj
    sampling = guider.model_patcher.get_model_object("model_sampling")
    log(sampling_warnings(sampling, sampler, sigmas, getattr(guider, "cfg", None)))
    return executor(noise, latent_image, sampler, sigmas, *args, **kw)


def watch_length(most: int) -> Any:
    """OUTER_SAMPLE wrapper for a motion model that knows `most` positions; refuses before loading."""

    def watch(executor: Any, noise: Any, *args: Any, **kw: Any):
        if "context_handler" not in executor.class_obj.model_options:  # else its windows are checked
            check_frames(noise.shape[0], most)
        log(frame_warnings(noise.shape[0]))
        return executor(noise, *args, **kw)

    return watch
