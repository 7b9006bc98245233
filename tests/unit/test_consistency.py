"""The consistency function and the conversions around it, as properties."""

from __future__ import annotations

import pytest
import torch

from animatelcm_core.consistency import (
    add_noise,
    boundary_scalings,
    consistency_function,
    lcm_step,
    x0_from_eps,
)
from animatelcm_core.schedule import Schedule

ALPHA_BAR = Schedule().alpha_bar()


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))


def test_f_at_zero_is_the_identity() -> None:
    x, x0 = latents(0), latents(1)
    assert torch.equal(consistency_function(x, x0, torch.zeros(3)), x)


def test_boundary_scalings() -> None:
    c_skip, c_out = boundary_scalings(torch.arange(1000))
    assert c_skip[0] == 1
    assert c_out[0] == 0
    assert (c_skip.diff() < 0).all()
    assert float(c_skip[19]) == pytest.approx(6.9e-6, rel=0.01)
    # A point of unit variance with independent error keeps it: the scalings are those of Karras et al.
    assert torch.allclose(c_skip + c_out**2, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("t", [0, 19, 499, 999])
def test_x0_is_found_again(t: int) -> None:
    x0, eps = latents(2), latents(3)
    a = ALPHA_BAR[t].repeat(3)
    x = add_noise(x0, eps, a)
    assert torch.allclose(x0_from_eps(x, eps, a), x0, atol=1e-4)


def test_a_perfect_model_lands_on_x0_from_anywhere() -> None:
    x0, eps, noise = latents(4), latents(5), latents(6)
    x = add_noise(x0, eps, ALPHA_BAR[999])
    x = lcm_step(x, eps, torch.tensor(999), ALPHA_BAR[999], ALPHA_BAR[499], noise)
    assert torch.allclose(x, add_noise(x0, noise, ALPHA_BAR[499]), atol=1e-4)
    x = lcm_step(x, noise, torch.tensor(499), ALPHA_BAR[499], None, None)
    assert torch.allclose(x, x0, atol=1e-4)


def test_a_step_that_goes_on_needs_noise() -> None:
    x = latents(7)
    with pytest.raises(ValueError, match="got no noise"):
        lcm_step(x, x, torch.tensor(999), ALPHA_BAR[999], ALPHA_BAR[499], None)


def test_half_precision_input_is_computed_in_float32() -> None:
    x0, eps = latents(8).half(), latents(9).half()
    assert add_noise(x0, eps, ALPHA_BAR[500]).dtype == torch.float32
