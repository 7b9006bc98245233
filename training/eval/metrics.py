"""Frechet distance between sets of features, and the distance that two real sets have.

FD(a, b) = |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2), as FVD and FID have it. float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean (d,) and covariance (d, d) of a feature set, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """features: (n, d), n of at least 2. Raises ValueError for fewer, or a value that is not finite."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"got features {tuple(features.shape)}; expected (n, d) with n of at least 2")
        x = features.double()
        if not torch.isfinite(x).all():
            raise ValueError("got a feature that is not finite; expected numbers. Look at the clips first.")
        mean = x.mean(0)
        return cls(mean, (x - mean).T @ (x - mean) / (len(x) - 1))

    @cached_property
    def root(self) -> Tensor:
        """C^1/2, (d, d) and symmetric. Eigenvalues under zero are rounding and count as zero."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp_min(0).sqrt() @ vectors.T


def distance(a: Gaussian, b: Gaussian) -> float:
    """FD of two Gaussians; zero or more.

    The root's trace comes from the eigenvalues of a symmetric product, which stay real where that of
    C_a C_b (scipy's sqrtm) turns complex or negative for sets smaller than their dimension.
    """
    # 1. tr (C_a^1/2 C_b C_a^1/2)^1/2: the roots of the eigenvalues of a symmetric matrix, summed.
    product = a.root @ b.covariance @ a.root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    # 2. tr(C_a + C_b) - 2 of that, and the squared distance of the means.
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float((a.mean - b.mean).square().sum() + spread))


def frechet(a: Tensor, b: Tensor) -> float:
    """FD between feature sets (n, d) and (m, d). It grows with fewer clips: compare sets of equal size."""
    return distance(Gaussian.of(a), Gaussian.of(b))


def standardised(features: Tensor, real: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Each of the d features in units of its deviation over the `real` set (m, d), float64.

    least: (d,) or one number, the smallest unit. Without one, a feature that hardly changes in real sets
    outweighs all others as soon as it changes. One that never does (under 1e-6) keeps its own units.
    """
    scale = torch.maximum(real.double().std(0), torch.as_tensor(least, dtype=torch.float64))
    return (features.double() - real.double().mean(0)) / torch.where(scale < 1e-6, 1.0, scale)


def real_versus_real(reference: Tensor, others: Tensor) -> float:
    """The floor of a table: FD of real clips, as many as a cell has, from the reference set of real clips.

    No model can be expected below it: it is what the finite number of clips costs.
    """
    return frechet(others, reference)
