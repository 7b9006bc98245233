"""The consistency function and its multistep sampler, used by the sampler and by the training loss alike.

f(x, t) = c_skip(t) x + c_out(t) x0(x, t)   (paper Eq. 3 and 6), with f(x, 0) = x exactly.

Symbols: alpha_bar, sigma_data = 0.5, eps predicted noise, x0 predicted clean latent.
All arithmetic is float32 or wider: x0 = (x - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) multiplies the error
of eps by up to 42 at t = 999.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0  # as in the LCM and AnimateLCM code; the papers leave it open


def boundary_scalings(t: Tensor | float, sigma_data: float = SIGMA_DATA) -> tuple[Tensor, Tensor]:
    """c_skip, c_out at timesteps t (any shape, 0 to 999): c_skip(0) = 1, c_out(0) = 0."""
    s = torch.as_tensor(t, dtype=torch.float64) * TIMESTEP_SCALING
    c_skip = sigma_data**2 / (s**2 + sigma_data**2)
    c_out = s / (s**2 + sigma_data**2).sqrt()
    return c_skip, c_out


def expand(values: Tensor, like: Tensor) -> Tensor:
    """(b,) or scalar -> broadcastable against `like` (b, ...), in float32 at least and on its device."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    values = values.to(device=like.device, dtype=dtype)
    # Never zero-dimensional: such a tensor would not lift `like` out of half precision.
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def x0_from_eps(x: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """Clean latent from predicted noise. x, eps: (b, ...); alpha_bar: (b,) or scalar."""
    a = expand(alpha_bar, x)
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t of the forward process (paper Sec. 3)."""
    a = expand(alpha_bar, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def consistency_function(x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """f(x, t) of Eq. 3 from the network's x0. t: (b,) or scalar timesteps."""
    c_skip, c_out = boundary_scalings(t)
    return expand(c_skip, x) * x + expand(c_out, x) * x0


def lcm_step(
    x: Tensor,
    eps: Tensor,
    t: Tensor,
    alpha_bar_t: Tensor,
    alpha_bar_next: Tensor | None,
    noise: Tensor | None,
) -> Tensor:
    """One step of multistep consistency sampling: predict f, then noise it to the next level.

    x, eps: (b, ...) at timestep t. `alpha_bar_next` and `noise` are None in the last step, which adds none.
    """
    denoised = consistency_function(x, x0_from_eps(x, eps, alpha_bar_t), t)
    if alpha_bar_next is None:
        return denoised
    if noise is None:
        raise ValueError("got no noise; expected noise like x for every step but the last")
    return add_noise(denoised, noise, alpha_bar_next)
