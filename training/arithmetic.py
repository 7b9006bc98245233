"""Counts floating-point operations, and measures how fast this machine can do them."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]
aten = torch.ops.aten
_SIDE = {"cuda": 8192, "cpu": 2048}  # of the matrices that are multiplied: a fraction of a second each


def counter() -> FlopCounterMode:
    """`with counter() as c: ...; c.get_total_flops()`. PyTorch's own counter misses attention on a CPU."""

    def forward(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(q, k, v)

    def backward(gradient: Shape, q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
        return sdpa_backward_flop_count(gradient, q, k, v)

    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: forward,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
        },
    )


def wait_for(device: torch.device) -> None:
    """Wait until everything that was started on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@torch.no_grad()
def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """TFLOP per second of a large matrix product, best of `repeats`: the peak of `device` in `dtype`."""
    side = _SIDE.get(device.type, 2048)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):  # the first one also loads libraries
        wait_for(device)
        began = time.perf_counter()
        torch.mm(a, b)
        wait_for(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e12
