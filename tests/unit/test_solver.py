"""The pair of neighbouring points: against the paper's equations and a process with a known solution."""

from __future__ import annotations

import pytest
import torch

from animatelcm_core.consistency import add_noise, consistency_function
from animatelcm_core.schedule import Schedule
from animatelcm_core.solver import (
    Solver,
    ddim_step,
    guided,
    huber,
    level_weight,
    snr_weight,
    teacher_free_pair,
)

SCHEDULE = Schedule(original_steps=1000)


def test_timesteps_are_k_apart_and_end_at_zero():
    solver = Solver(SCHEDULE, 50)
    n = torch.arange(50)
    assert solver.start(n).tolist() == list(range(19, 1000, 20))
    assert solver.end(n).tolist() == [max(t - 20, 0) for t in range(19, 1000, 20)]


@pytest.mark.parametrize("steps", [0, 3, 1001])
def test_a_number_of_steps_that_does_not_divide_1000_is_refused(steps: int):
    with pytest.raises(ValueError, match=f"got {steps} solver steps; expected a divisor of 1000"):
        Solver(SCHEDULE, steps)


def test_ddim_with_the_true_noise_is_the_teacher_free_pair():
    """Eq. 8 with eps = eps_0 gives Eq. 12."""
    x0, noise = torch.randn(2, 3, 5, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    alpha_bar = SCHEDULE.alpha_bar()
    t, t_next = torch.tensor([999, 499, 19]), torch.tensor([979, 479, 0])
    x_t, x_next = teacher_free_pair(x0, noise, alpha_bar[t], alpha_bar[t_next])
    torch.testing.assert_close(
        ddim_step(x_t, noise, alpha_bar[t], alpha_bar[t_next]), x_next, rtol=0, atol=1e-12
    )


def test_the_solver_follows_a_gaussian_whose_trajectories_are_known():
    """Data N(m, s^2): x_t = a m + sqrt(a^2 s^2 + 1 - a^2) z along a path. Halved steps, half the error."""
    m, s, alpha_bar = 1.5, 0.4, SCHEDULE.alpha_bar()
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def exact(t: int) -> torch.Tensor:
        a = alpha_bar[t]
        return a.sqrt() * m + (a * s**2 + 1 - a).sqrt() * z

    def eps(x: torch.Tensor, t: int) -> torch.Tensor:
        a = alpha_bar[t]
        return (1 - a).sqrt() * (x - a.sqrt() * m) / (a * s**2 + 1 - a)

    errors = []
    for steps in (50, 100, 200):
        solver = Solver(SCHEDULE, steps)
        x = exact(999)
        for n in reversed(range(steps)):
            t, t_next = int(solver.start(torch.tensor(n))), int(solver.end(torch.tensor(n)))
            x = ddim_step(x, eps(x, t), alpha_bar[t], alpha_bar[t_next])
        errors.append(float((x - exact(0)).abs().max()))
    assert errors[0] < 0.1
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3


def test_guidance_is_one_plus_w():
    cond, uncond = torch.full((2, 1), 3.0), torch.full((2, 1), 1.0)
    # cfg 1 is the conditional prediction, cfg 7.5 is uncond + 7.5 (cond - uncond)
    assert guided(cond, uncond, torch.tensor([0.0, 6.5])).flatten().tolist() == [3.0, 16.0]


def test_huber_is_squared_for_small_and_absolute_for_large_errors():
    zero = torch.zeros(1, 4)
    small, large = torch.full((1, 4), 1e-4), torch.full((1, 4), 10.0)
    c = 0.1
    assert huber(small, zero, c).item() == pytest.approx(1e-8 / (2 * c), rel=1e-2)
    assert huber(large, zero, c).item() == pytest.approx(10 - c, rel=1e-3)
    assert huber(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1), c).shape == (2,)


def test_level_weights_fall_with_noise():
    n = torch.arange(50)
    weights = level_weight(n, 50, delta=0.66, gamma=1.0)
    assert weights[0] == 1
    assert bool((weights.diff() < 0).all())
    assert weights[-1].item() == pytest.approx(1 - 0.66 * 49 / 50)
    assert bool((level_weight(n, 50, delta=0.66, gamma=0.0) == 1).all())
    with pytest.raises(ValueError, match="expected 0 <= delta <= 1"):
        level_weight(n, 50, delta=1.5, gamma=1.0)


def test_the_target_at_time_zero_is_its_input():
    """n = 0 is supervised by the teacher's own x_t': f(x, 0) = x."""
    x = torch.randn(2, 4)
    t_next = Solver(SCHEDULE, 50).end(torch.tensor([0, 0]))
    assert torch.equal(consistency_function(x, torch.randn(2, 4), t_next), x)


def test_float32_input_stays_float32():
    x0 = torch.randn(1, 4)
    assert add_noise(x0, x0, SCHEDULE.alpha_bar()[[500]]).dtype == torch.float32
    assert ddim_step(x0, x0, SCHEDULE.alpha_bar()[[500]], SCHEDULE.alpha_bar()[[480]]).dtype == torch.float32


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_snr_weight_makes_an_error_in_x0_count_the_clamped_snr(precision: torch.dtype):
    """x0 = (x - sqrt(1 - a) eps) / sqrt(a): an error e in eps is one of e / sqrt(snr) in x0."""
    alpha_bar = SCHEDULE.alpha_bar()
    weight = snr_weight(alpha_bar, 0.1, 5, precision)
    assert weight.dtype == torch.float32
    snr = alpha_bar / (1 - alpha_bar)
    in_x0 = weight.double() * snr  # squared errors: weight e^2 = (weight snr) (e^2 / snr)
    torch.testing.assert_close(in_x0, snr.clamp(0.1, 5), rtol=1e-6, atol=0)
    assert (weight[(snr > 0.1) & (snr < 5)] == 1).all()
