"""The pair of neighbouring points on a trajectory that consistency learning compares.

Distillation (paper Eq. 7 and 8): a teacher's DDIM step with classifier-free guidance takes z_t to its less
noisy neighbour z_t' on the probability-flow ODE. Teacher-free adaptation (Eq. 12): both share one noise.

Symbols: N solver steps, k = 1000 / N timesteps apart; n = 0..N-1; t = k (n + 1) - 1; t' = max(t - k, 0);
w guidance, where 1 + w is what artists call the cfg scale. All arithmetic is float32 or wider.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .consistency import add_noise, expand, x0_from_eps
from .schedule import TRAIN_STEPS, Schedule


@dataclass(frozen=True)
class Solver:
    """The N timesteps of `schedule` that training knows, and the steps between them."""

    schedule: Schedule
    steps: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= TRAIN_STEPS or TRAIN_STEPS % self.steps:
            raise ValueError(f"got {self.steps} solver steps; expected a divisor of {TRAIN_STEPS}")

    @property
    def skip(self) -> int:
        """k, timesteps between neighbours."""
        return TRAIN_STEPS // self.steps

    def start(self, n: Tensor) -> Tensor:
        """t of index n, int64: k - 1, 2 k - 1, ..., 999."""
        return self.skip * (n + 1) - 1

    def end(self, n: Tensor) -> Tensor:
        """t' of index n: the neighbour with less noise, 0 for n = 0."""
        return (self.start(n) - self.skip).clamp_min(0)


def guided(cond: Tensor, uncond: Tensor, w: Tensor) -> Tensor:
    """eps_w = (1 + w) eps_cond - w eps_uncond, in float32. w: (b,) per clip."""
    w = expand(w, cond)
    return (1 + w) * cond - w * uncond


def ddim_step(x: Tensor, eps: Tensor, alpha_bar_t: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """DDIM from level t to t' along eps: sqrt(a') x0 + sqrt(1 - a') eps (Eq. 8)."""
    return add_noise(x0_from_eps(x, eps, alpha_bar_t), eps, alpha_bar_next)


def teacher_free_pair(
    x0: Tensor, noise: Tensor, alpha_bar_t: Tensor, alpha_bar_next: Tensor
) -> tuple[Tensor, Tensor]:
    """z_t and z_t' of data x0 with one shared noise (Eq. 12): DDIM with the true noise, no teacher needed."""
    return add_noise(x0, noise, alpha_bar_t), add_noise(x0, noise, alpha_bar_next)


def huber(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Pseudo-Huber distance per clip, (b,): mean over elements of sqrt((x - y)^2 + c^2) - c, in float32."""
    error = (x.float() - y.float()).square()
    # The same without the difference of two nearly equal numbers.
    return (error / ((error + c * c).sqrt() + c)).flatten(1).mean(1)


def level_weight(n: Tensor, steps: int, delta: float, gamma: float) -> Tensor:
    """lambda_n = (1 - delta n / N)^gamma, falling with noise for gamma > 0; 0 <= delta <= 1, gamma >= 0."""
    if not 0 <= delta <= 1 or gamma < 0:
        raise ValueError(f"got delta {delta}, gamma {gamma}; expected 0 <= delta <= 1 and gamma >= 0")
    return (1 - delta * n.to(torch.float32) / steps) ** gamma


def snr_weight(alpha_bar: Tensor, low: float, high: float, precision: torch.dtype = torch.float32) -> Tensor:
    """min-SNR weight of a squared error in eps, (b,) float32: clamp(snr, low, high) / snr.

    snr = alpha_bar / (1 - alpha_bar). The same error seen in x0 counts clamp(snr, low, high), so that low
    noise, where only texture is left to learn, does not take all of the gradient. precision: snr is rounded
    to it.
    """
    snr = (alpha_bar / (1 - alpha_bar)).to(precision)
    return (snr.clamp(low, high) / snr).float()
