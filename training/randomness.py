"""Random numbers that depend on a seed and on what they are for, never on what was drawn before."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator_for(seed: int, purpose: str, number: int) -> torch.Generator:
    """A CPU generator of its own for each (seed, purpose, number)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def permutation(n: int, seed: int, purpose: str, number: int) -> Tensor:
    """(n,) int64: 0..n-1 shuffled."""
    return torch.randperm(n, generator=generator_for(seed, purpose, number))
