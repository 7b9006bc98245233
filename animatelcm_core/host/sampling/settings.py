"""Warnings about the settings of a run: sampler, noise levels and cfg against the MODEL's schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .model_sampling import ScheduleSampling

MAX_CFG = 3.0  # the guidance is distilled in; the authors use 1 to 2


def sampler_name(sampler: Any) -> str:
    """Name of a SAMPLER's algorithm as users know it, e.g. `lcm`, or an empty string."""
    name = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    return name.removeprefix("sample_")


def _off_schedule(sampling: ScheduleSampling, sigmas: Tensor) -> bool:
    """Whether a noise level is not a known one (relative 1e-4), or a step starts at the lowest of them.

    The scheduler normal does the latter: its last step, at t = 9, changes nothing.
    """
    used = sigmas[:-1].detach().float().cpu()
    known = sampling.sigmas
    unknown = (used[:, None] / known - 1).abs().amin(dim=1) > 1e-4
    wasted = used[-1] <= known[0] * 1.0001 and len(used) * 2 < len(known)
    return bool(unknown.any() or wasted)


def sampling_warnings(sampling: Any, sampler: Any, sigmas: Tensor, cfg: float | None) -> list[str]:
    """Warnings about a run on a distilled schedule; none for any other."""
    if not isinstance(sampling, ScheduleSampling) or not sampling.distilled:
        return []
    said = []
    name = sampler_name(sampler)
    if name and "lcm" not in name:
        said.append(
            f"got the sampler {name}; expected lcm. Set the sampler to lcm, or use AnimateLCM Sample."
        )
    if cfg is not None and cfg > MAX_CFG:
        said.append(
            f"got cfg {cfg:g}; expected 1 to 2 (at most {MAX_CFG:g}). Lower cfg: colours burn out above that."
        )
    if torch.is_tensor(sigmas) and len(sigmas) > 1 and _off_schedule(sampling, sigmas):
        said.append(
            "got noise levels that this model was not distilled for; expected the scheduler simple. Set it, "
            "or use AnimateLCM Scheduler."
        )
    return said
