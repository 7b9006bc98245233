"""The moving average of parameters, in float32: in half precision the small changes would round away."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(averages: Iterable[Tensor], values: Iterable[Tensor], mu: float) -> None:
    """average <- mu average + (1 - mu) value, in place, pair by pair."""
    torch._foreach_lerp_(list(averages), list(values), 1 - mu)  # type: ignore[attr-defined]
