"""Samplers of the training side against known solutions, the authors' recordings and diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.consistency import boundary_scalings, expand, x0_from_eps
from animatelcm_core.schedule import SCHEDULES, Schedule
from training.samplers import Spacing, ddim, dpm, lcm, spaced, with_guidance

GOLDEN = load_file(Path(__file__).resolve().parents[1] / "golden" / "lcm_scheduler.safetensors")
TEACHER, STUDENT = SCHEDULES["animatediff"], SCHEDULES["text to video"]
MEAN, DEVIATION = 0.7, 0.4
NO_CONTEXT, EMPTY = torch.zeros(4, 1, 1), torch.zeros(1, 1, 1)


def noise(n: int = 4) -> Tensor:
    return torch.randn(n, 16, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def gaussian_eps(x: Tensor, t: int, _context: Tensor) -> Tensor:
    """Exact eps of data N(MEAN, DEVIATION^2), every element alone."""
    a = TEACHER.alpha_bar()[t].float()
    return (1 - a).sqrt() * (x - a.sqrt() * MEAN) / (a * DEVIATION**2 + 1 - a)


def consistent_eps(x: Tensor, t: int, _context: Tensor) -> Tensor:
    """The eps whose consistency function is the end of the Gaussian's ODE: a perfect student's."""
    a = STUDENT.alpha_bar()[t]
    c_skip, c_out = (c.float() for c in boundary_scalings(t))
    level = (a * DEVIATION**2 + 1 - a).sqrt().float()
    end = MEAN + DEVIATION * (x - a.sqrt().float() * MEAN) / level
    a = expand(a, x)
    return (x - a.sqrt() * (end - c_skip * x) / c_out) / (1 - a).sqrt()


def rough_eps(x: Tensor, t: int, context: Tensor) -> Tensor:
    """Something smooth and no data's eps, different for every context."""
    return 0.9 * torch.tanh(1.3 * x + 0.2 + context.mean((1, 2))[:, None, None, None, None]) + 1e-4 * t


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("sampler", "steps"), [(ddim, 250), (dpm, 100)])
def test_solvers_reach_the_data(sampler: Any, steps: int, spacing: Spacing) -> None:
    x = sampler(gaussian_eps, noise(), NO_CONTEXT, TEACHER, steps, spacing)
    assert abs(float(x.mean()) - MEAN) < 0.02
    assert abs(float(x.std()) - DEVIATION) < 0.015


def test_more_steps_are_nearer_and_second_order_is_nearer_still() -> None:
    def error(sampler: Any, steps: int) -> float:
        x = sampler(gaussian_eps, noise(1), NO_CONTEXT[:1], TEACHER, steps, "trailing")
        a = TEACHER.alpha_bar()[-1]
        level = (a * DEVIATION**2 + 1 - a).sqrt()
        exact = MEAN + DEVIATION * (noise(1) - a.sqrt() * MEAN) / level
        return float((x - exact).norm() / exact.norm())

    assert error(ddim, 32) < 0.4 * error(ddim, 8)
    assert error(dpm, 32) < 0.75 * error(ddim, 32)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_perfect_student_has_the_data_in_every_number_of_steps(steps: int) -> None:
    generator = torch.Generator().manual_seed(2)
    x = lcm(consistent_eps, noise(), NO_CONTEXT, STUDENT, steps, generator)
    assert abs(float(x.mean()) - MEAN) < 0.02  # the start, pure noise, is a little off the ODE's own
    assert abs(float(x.std()) - DEVIATION) < 0.015


def test_denoising_alone_is_no_student() -> None:
    """The exact eps of the data gives its posterior mean: one step shows no spread at all."""
    x = lcm(gaussian_eps, noise(), NO_CONTEXT, STUDENT, 1)
    assert float(x.std()) < 0.1 * DEVIATION


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("table", "schedule"),
    [("t2v", SCHEDULES["text to video"]), ("i2v", SCHEDULES["image to video"]), ("paper50", None)],
)
def test_lcm_follows_the_recorded_trajectories(table: str, schedule: Schedule | None, steps: int) -> None:
    def eps(x: Tensor, t: int, _context: Tensor) -> Tensor:
        return 0.9 * torch.tanh(1.3 * x + 0.2) + 0.05 * torch.sin(torch.tensor(t / 100))

    schedule = schedule or Schedule(original_steps=50)
    start, expected = (GOLDEN[f"{table}.{name}.{steps}"] for name in ("x_T", "latents"))
    noises = [GOLDEN[f"{table}.noise.{steps}.{i}"] for i in range(steps - 1)]
    got = lcm(eps, start, NO_CONTEXT, schedule, steps, noises)
    assert (got - expected).norm() / expected.norm() < 1e-5


def test_lcm_draws_from_its_generator() -> None:
    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return lcm(rough_eps, noise(1), NO_CONTEXT[:1], STUDENT, 2, generator)

    assert torch.equal(run(3), run(3))
    assert not torch.allclose(run(3), run(4), atol=0.1)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 4, 25])
def test_ddim_is_that_of_diffusers(spacing: Spacing, steps: int) -> None:
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    x = noise(1)
    for t in scheduler.timesteps:
        x = scheduler.step(rough_eps(x, int(t), EMPTY), t, x).prev_sample
    assert spaced(TEACHER, steps, spacing) == scheduler.timesteps.tolist()
    got = ddim(rough_eps, noise(1), EMPTY, TEACHER, steps, spacing)
    assert (got - x).norm() / x.norm() < 1e-3  # its tables are float32, and 1 / sqrt(alpha_bar) is 25


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 25])
def test_simple_is_trailing_where_steps_divide(steps: int) -> None:
    assert spaced(TEACHER, steps, "simple") == spaced(TEACHER, steps, "trailing")


def test_leading_one_step_starts_at_the_clean_end() -> None:
    """Why the paper's one-step rows are as bad as they are: diffusers 0.11.1 knew no other spacing."""
    assert [spaced(TEACHER, steps, "leading") for steps in (1, 2, 4)] == [[1], [501, 1], [751, 501, 251, 1]]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_dpm_linspace_is_trailing_within_a_timestep(steps: int) -> None:
    """The paper's spacing of DPM-Solver++ needs no row of its own."""
    seen: dict[str, list[int]] = {"linspace": [], "trailing": []}
    for spacing, timesteps in seen.items():

        def eps(x: Tensor, t: int, _context: Tensor, known: list[int] = timesteps) -> Tensor:
            known.append(t)
            return x

        dpm(eps, noise(1), EMPTY, TEACHER, steps, spacing)  # type: ignore[arg-type]
    pairs = list(zip(*seen.values(), strict=True))
    assert len(pairs) == steps
    assert pairs[0] == (999, 999)
    assert all(abs(a - b) <= 1 for a, b in pairs)


def test_one_step_of_both_solvers_is_the_same() -> None:
    a, b = (s(rough_eps, noise(1), EMPTY, TEACHER, 1, "trailing") for s in (ddim, dpm))
    assert (a - b).norm() / a.norm() < 1e-4


@pytest.mark.parametrize("sampler", [ddim, dpm])
def test_guidance(sampler: Any) -> None:
    calls: list[int] = []

    def counted(x: Tensor, t: int, context: Tensor) -> Tensor:
        calls.append(len(x))
        return rough_eps(x, t, context)

    context = torch.ones(4, 1, 1) * torch.arange(4)[:, None, None]
    at = {
        g: sampler(with_guidance(counted, EMPTY, g), noise(), context, TEACHER, 2, "trailing")
        for g in (1, 1 + 1e-6, 3)
    }
    assert calls == [4, 4, 8, 8, 8, 8]  # at 1 the unconditional half is left out
    assert torch.allclose(at[1], at[1 + 1e-6], atol=1e-3)
    assert (at[1][1:] - at[3][1:]).abs().mean() > 0.05
    assert torch.allclose(at[1][0], at[3][0], atol=1e-3)  # its context is the empty one


def test_guided_is_the_linear_formula() -> None:
    x, context = noise(2), torch.ones(2, 1, 1)
    got = with_guidance(rough_eps, EMPTY, 3.0)(x, 500, context)
    cond, uncond = rough_eps(x, 500, context), rough_eps(x, 500, EMPTY.expand(2, 1, 1))
    assert torch.allclose(got, 3 * cond - 2 * uncond, atol=1e-6)


def test_spacings_are_refused_where_they_mean_nothing() -> None:
    for spacing in get_args(Spacing):
        if spacing != "simple":
            with pytest.raises(ValueError, match="distilled"):
                spaced(STUDENT, 4, spacing)
    with pytest.raises(ValueError, match="undistilled"):
        dpm(rough_eps, noise(1), EMPTY, STUDENT, 4)
    with pytest.raises(ValueError, match="1001"):
        spaced(TEACHER, 1001, "trailing")


def test_known_noise_is_taken_off() -> None:
    """If eps is the noise that was added, every solver gives the data back."""
    x0 = noise(1) * 0.3
    true = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5))
    a = TEACHER.alpha_bar()
    start = (a[999].sqrt() * x0 + (1 - a[999]).sqrt() * true).float()
    for sampler in (ddim, dpm):
        got = sampler(lambda x, t, c: true, start, EMPTY, TEACHER, 4, "trailing")
        assert (got - x0).norm() / x0.norm() < 1e-3
    assert torch.allclose(x0_from_eps(start, true, a[999]), x0, atol=1e-4)
