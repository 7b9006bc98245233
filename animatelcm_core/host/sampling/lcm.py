"""Multistep consistency sampling for the host: denoise, then noise again to the next level (paper Sec. 3).

The host's own `lcm` sampler does the same; this one draws its noise on the CPU from a generator of its own,
so a seed gives the same clip on every device and every host version.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import comfy.samplers
import torch
from comfy.k_diffusion.sampling import default_noise_sampler, sample_lcm
from torch import Tensor
from tqdm.auto import trange


def noise_source(x: Tensor, seed: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Noise like `x` (f, 4, h, w) for each step. `seed` + 1 keeps it apart from the initial noise."""
    generator = None
    if seed is not None:
        generator = torch.Generator("cpu").manual_seed((seed + 1) % 2**64)

    def draw(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        return torch.randn(x.shape, dtype=torch.float32, generator=generator).to(x)

    return draw


@torch.no_grad()
def sample_animatelcm(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
    s_noise: float = 1.0,
) -> Tensor:
    """Clean latents like `x` (f, 4, h, w), whose noise level is sigmas[0]; no noise is added at sigma 0.

    sigmas: (steps + 1,), decreasing. s_noise: scale of the noise that is added between steps.
    """
    extra_args = extra_args or {}
    noise_sampler = noise_sampler or noise_source(x, extra_args.get("seed"))
    sampling = model.inner_model.model_patcher.get_model_object("model_sampling")
    for i in trange(len(sigmas) - 1, disable=disable):
        denoised = model(x, sigmas[i] * x.new_ones(x.shape[0]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised
        if sigmas[i + 1] > 0:
            noise = noise_sampler(sigmas[i], sigmas[i + 1])
            x = sampling.noise_scaling(sigmas[i + 1], noise * s_noise, x)
    return x


def lcm_sampler(s_noise: float = 1.0) -> Any:
    """The host's SAMPLER object of `sample_animatelcm`."""
    return comfy.samplers.KSAMPLER(sample_animatelcm, {"s_noise": s_noise})


def with_noise_order(sampler: Any, order: Sequence[int]) -> Any:
    """A SAMPLER that gives frame i, between steps, the noise that `sampler` would give frame order[i].

    For this pack's sampler and the host's `lcm`, which draw each frame's noise anew; others come back as they
    are.
    """
    function: Any = getattr(sampler, "sampler_function", None)
    sources = {sample_animatelcm: noise_source, sample_lcm: default_noise_sampler}
    if function not in sources:
        return sampler

    @functools.wraps(function)  # the name is what the settings are checked by
    def sample(model: Any, x: Tensor, sigmas: Tensor, **given: Any) -> Tensor:
        source = given.pop("noise_sampler", None)
        source = source or sources[function](x, seed=(given.get("extra_args") or {}).get("seed"))
        drawn = functools.partial(_in_order, source, list(order))
        return function(model, x, sigmas, noise_sampler=drawn, **given)

    changed = copy.copy(sampler)
    changed.sampler_function = sample
    return changed


def _in_order(source: Callable[..., Tensor], order: list[int], *sigmas: Tensor) -> Tensor:
    return source(*sigmas)[order]
