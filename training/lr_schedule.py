"""The learning rate of each update of a run."""

from __future__ import annotations

import math


def lr_at(peak: float, warmup: int, step: int, steps: int, cosine: bool) -> float:
    """Rate of update `step` (0-based) of `steps`: a linear warm-up, then constant or a cosine to a 20th."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if not cosine:
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)
