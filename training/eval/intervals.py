"""Confidence intervals: Wilson's for shares, the bootstrap for everything else.

Cells of a table are sampled from the same captions and noise, clip by clip. The bootstrap draws clips by a
seed of its own, so two cells of equal size are resampled alike and differences or ratios of them stay paired.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Interval = tuple[float, float]


def wilson(hits: int, n: int, z: float = 1.96) -> Interval:
    """Wilson's interval of a share, 95 % by default; rounded to four places."""
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"got {hits} of {n}; expected 0 <= hits <= n and n > 0")
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def bootstrap(statistic: Callable[[Tensor], float], n: int, draws: int = 200, seed: int = 0) -> Tensor:
    """(draws,) float64 values of `statistic` on n clips drawn with replacement.

    statistic: takes clip indices (n,) int64. Equal n, draws and seed give equal indices.
    """
    generator = torch.Generator().manual_seed(seed)
    values = [statistic(torch.randint(n, (n,), generator=generator)) for _ in range(draws)]
    return torch.tensor(values, dtype=torch.float64)


def centred_interval(values: Tensor, point: float, level: float = 0.95) -> Interval:
    """Percentile interval of bootstrap `values`, moved so that their mean is `point`.

    A Frechet distance of a resampled set is larger by itself (it has fewer distinct clips): the plain
    percentiles would lie above the measured value. The spread is what the bootstrap can tell.
    """
    half = (1 - level) / 2
    ends = torch.quantile(values, torch.tensor([half, 1 - half], dtype=torch.float64)) - values.mean() + point
    return float(ends[0]), float(ends[1])


def over_seeds(values: Tensor, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent runs (k,) and the ends of Student's interval; with one run both ends are nan."""
    from scipy.stats import t as student  # a second to import, and only plots need it

    mean, k = float(values.mean()), len(values)
    if k < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf((1 + level) / 2, k - 1)) * float(values.std()) / k**0.5
    return mean, mean - half, mean + half
