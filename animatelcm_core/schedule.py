"""Noise schedules and the timesteps a latent consistency model is sampled at.

alpha_bar_t = prod(1 - beta_i); x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (paper Sec. 3).
sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t) is the same level with x_0 unscaled, as ComfyUI counts it.

A distilled model knows only `original_steps` of the 1000 timesteps, k = 1000 / original_steps apart:
k-1, 2k-1, ..., 999. N sampling steps take floor(linspace) of them, noisiest first, as the authors' scheduler.

Names: diffusers' `linear` is ComfyUI's `sqrt_linear`; diffusers' `scaled_linear` is ComfyUI's `linear`.
The names here are diffusers', as in the authors' configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

TRAIN_STEPS = 1000


@dataclass(frozen=True)
class Schedule:
    """A noise schedule and the subset of timesteps the model was distilled on.

    beta: `linear` (betas linear) or `scaled_linear` (square roots of the betas linear, SD1.5's own).
    beta_end: last beta, 0.012 or 0.014 in released configurations.
    original_steps: 1 to 1000, a divisor of 1000; 1000 means undistilled.
    """

    beta: Literal["linear", "scaled_linear"] = "linear"
    beta_end: float = 0.012
    original_steps: int = 100
    beta_start: float = 0.00085

    def __post_init__(self) -> None:
        if not 1 <= self.original_steps <= TRAIN_STEPS or TRAIN_STEPS % self.original_steps:
            raise ValueError(f"got original_steps {self.original_steps}; expected a divisor of {TRAIN_STEPS}")
        if not self.beta_start < self.beta_end < 1:
            raise ValueError(f"got beta_end {self.beta_end}; expected more than {self.beta_start}, under 1")

    @property
    def skip(self) -> int:
        """k, the distance between two known timesteps."""
        return TRAIN_STEPS // self.original_steps

    def alpha_bar(self) -> Tensor:
        """(1000,) float64, decreasing."""
        if self.beta == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, TRAIN_STEPS, dtype=torch.float64)
        else:
            betas = (
                torch.linspace(self.beta_start**0.5, self.beta_end**0.5, TRAIN_STEPS, dtype=torch.float64)
                ** 2
            )
        return torch.cumprod(1 - betas, dim=0)

    def known_timesteps(self) -> Tensor:
        """(original_steps,) int64, increasing: k-1, 2k-1, ..., 999."""
        return torch.arange(1, self.original_steps + 1) * self.skip - 1

    def sigmas(self) -> Tensor:
        """(original_steps,) float64, increasing: noise levels of the known timesteps."""
        alpha_bar = self.alpha_bar()[self.known_timesteps()]
        return ((1 - alpha_bar) / alpha_bar).sqrt()

    def timesteps(self, steps: int, strength: float = 1.0) -> Tensor:
        """(steps,) int64, decreasing: what the authors' scheduler samples at.

        strength: 0 to 1, share of the schedule that is sampled (image-to-image); 1 starts from pure noise.
        Raises ValueError for more steps than there are known timesteps.
        """
        known = self.known_timesteps()[: int(self.original_steps * strength)].flip(0)
        if not 1 <= steps <= len(known):
            raise ValueError(
                f"got {steps} steps at strength {strength:g}; expected 1 to {len(known)} "
                f"(the schedule has {self.original_steps} known timesteps). Use fewer steps or more strength."
            )
        # Whole numbers instead of floor(linspace): the same for every steps <= 1000, and exact.
        return known[torch.arange(steps) * len(known) // steps]


SCHEDULES: dict[str, Schedule] = {
    "text to video": Schedule(),
    "image to video": Schedule(beta_end=0.014, original_steps=200),
    "soft": Schedule(beta="scaled_linear"),
    "animatediff": Schedule(original_steps=TRAIN_STEPS),
}
"""What a user can choose: the authors' two, the gentler one many prefer, AnimateDiff's undistilled one."""


def custom(name: str, beta_end: float = 0.0, original_steps: int = 0) -> Schedule:
    """A named schedule with its last beta or its number of timesteps replaced; 0 keeps the schedule's own."""
    base = SCHEDULES[name]
    return replace(
        base, beta_end=beta_end or base.beta_end, original_steps=original_steps or base.original_steps
    )
