"""Frechet distances and intervals against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.eval.intervals import bootstrap, centred_interval, over_seeds, wilson
from training.eval.metrics import Gaussian, distance, frechet, real_versus_real, standardised


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_distance_of_known_gaussians() -> None:
    """Diagonal covariances: |mu|^2 + sum (s_a - s_b)^2."""
    a = Gaussian(torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    b = Gaussian(torch.tensor([1.0, 0.0, 2.0]).double(), torch.diag(torch.tensor([4.0, 4.0, 1.0]).double()))
    assert math.isclose(distance(a, b), 5 + 1 + 0 + 4, rel_tol=1e-12)
    assert math.isclose(distance(a, b), distance(b, a), rel_tol=1e-12)


def test_frechet_is_that_of_the_matrix_root() -> None:
    from scipy.linalg import sqrtm

    mix = normal(12, 12, 0)
    a, b = normal(300, 12, 1) @ mix, normal(200, 12, 2) @ mix.T + 0.3
    ca, cb = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    root = sqrtm(ca @ cb).real
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + (ca + cb - 2 * root).trace()
    assert math.isclose(frechet(a, b), expected, rel_tol=1e-8)


def test_frechet_of_equal_sets_is_zero_and_never_negative() -> None:
    """Fewer clips than features: covariances are singular, where the usual root turns negative."""
    for seed in range(20):
        x = normal(10, 40, seed) * 100
        value = frechet(x, x + 1e-9)
        assert 0 <= value < 1e-2
    assert frechet(normal(10, 40, 1), normal(10, 40, 2)) > 10


def test_frechet_does_not_depend_on_the_axes() -> None:
    rotation = torch.linalg.qr(normal(8, 8, 5))[0]
    a, b = normal(100, 8, 1), normal(100, 8, 2) * 2 + 1
    assert math.isclose(frechet(a, b), frechet(a @ rotation, b @ rotation), rel_tol=1e-9)


def test_floor_shrinks_with_clips() -> None:
    reference = normal(2000, 20, 0)
    few, many = (real_versus_real(reference, normal(n, 20, 1)) for n in (50, 1000))
    assert 0 < many < 0.2 * few


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(5), torch.full((5, 3), torch.nan)])
def test_features_are_checked(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="got"):
        Gaussian.of(bad)


def test_standardised() -> None:
    real = torch.cat([normal(500, 2, 0) * 5 + 3, torch.ones(500, 1).double()], dim=1)
    out = standardised(real, real)
    assert torch.allclose(out.mean(0), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(out.std(0), torch.tensor([1.0, 1.0, 0.0]).double(), atol=1e-9)
    assert standardised(real[:1] + 1, real)[0, 2] == 1  # a constant one keeps its own units
    held = standardised(real, real, torch.tensor([0.0, 100.0, 2.0]))
    assert torch.allclose(held[:, 0], out[:, 0])
    assert math.isclose(float(held[:, 1].std()), float(real[:, 1].std()) / 100, rel_tol=1e-9)


def test_wilson() -> None:
    assert wilson(0, 10) == (0.0, 0.2775)
    assert wilson(10, 10) == (0.7225, 1.0)
    low, high = wilson(150, 200)
    assert low < 0.75 < high
    with pytest.raises(ValueError, match="11 of 10"):
        wilson(11, 10)


def test_bootstrap_has_the_spread_of_the_mean() -> None:
    x = normal(400, 1, 3)[:, 0]
    draws = bootstrap(lambda clips: float(x[clips].mean()), 400, draws=400)
    assert math.isclose(float(draws.std()), float(x.std()) / 20, rel_tol=0.15)
    low, high = centred_interval(draws, float(x.mean()))
    assert low < float(x.mean()) < high
    assert math.isclose(high - low, 2 * 1.96 * float(x.std()) / 20, rel_tol=0.2)


def test_bootstrap_is_paired() -> None:
    """The difference of two cells that differ by a constant has no spread at all."""
    x = normal(50, 1, 1)[:, 0]
    a, b = (bootstrap(lambda clips, s=s: float((x[clips] + s).mean()), 50, draws=20) for s in (0, 1))
    assert a.std() > 0.05
    assert torch.allclose(b - a, torch.ones(20).double())
    assert not torch.equal(bootstrap(lambda i: float(x[i].mean()), 50, draws=20, seed=1), a)


def test_interval_of_a_biased_statistic_holds_its_value() -> None:
    """Frechet distances of resampled sets are larger; their plain percentiles would miss the value."""
    reference, x = normal(500, 30, 0), normal(60, 30, 1)
    point = frechet(reference, x)
    draws = bootstrap(lambda clips: frechet(reference, x[clips]), 60, draws=60)
    assert float(draws.quantile(0.025)) > point
    low, high = centred_interval(draws, point)
    assert low < point < high


def test_over_seeds_is_students_interval() -> None:
    mean, low, high = over_seeds(torch.tensor([1.0, 2.0, 3.0]))
    assert mean == 2
    assert math.isclose(high - mean, 4.302653 / 3**0.5, rel_tol=1e-5)
    assert math.isclose(mean - low, high - mean)
    assert math.isnan(over_seeds(torch.tensor([1.0]))[1])
