"""Random numbers that depend on a seed and on what they are for, never on what was drawn before."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def sample_generator(seed: int, position: int) -> torch.Generator:
    """A CPU generator of its own for each position of a run: a sample's place in the data, a step, a clip."""
    return torch.Generator().manual_seed((seed * 1_000_003 + position) % 2**63)


def generator_for(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator of its own for each purpose, such as `generator_for(seed, "epoch", 3)`.

    Unlike `sample_generator` its numbers are not shared by a neighbouring seed or another purpose.
    """
    digest = hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def permutation(n: int, seed: int, *names: str | int) -> Tensor:
    """(n,) int64: 0..n-1 shuffled."""
    return torch.randperm(n, generator=generator_for(seed, *names))
