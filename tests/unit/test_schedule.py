"""Schedules: the authors' timesteps, their noise levels, and what is refused."""

from __future__ import annotations

import pytest
import torch

from animatelcm_core.schedule import SCHEDULES, TRAIN_STEPS, Schedule, custom


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_grows_with_time(name: str) -> None:
    schedule = SCHEDULES[name]
    alpha_bar = schedule.alpha_bar()
    assert alpha_bar.dtype == torch.float64
    assert (alpha_bar.diff() < 0).all()
    assert 0 < alpha_bar[-1] < alpha_bar[0] < 1
    assert (schedule.sigmas().diff() > 0).all()
    assert len(schedule.sigmas()) == schedule.original_steps


@pytest.mark.parametrize(
    ("name", "first"), [("text to video", 25.146), ("image to video", 41.668), ("soft", 14.615)]
)
def test_first_noise_level(name: str, first: float) -> None:
    assert float(SCHEDULES[name].sigmas()[-1]) == pytest.approx(first, abs=2e-3)


@pytest.mark.parametrize("original_steps", [20, 50, 100, 200, 1000])
@pytest.mark.parametrize("strength", [1.0, 0.7, 0.35])
def test_timesteps_are_the_authors_floor_of_linspace(original_steps: int, strength: float) -> None:
    schedule = Schedule(original_steps=original_steps)
    known = schedule.known_timesteps()[: int(original_steps * strength)].flip(0)
    for steps in range(1, len(known) + 1):
        expected = [int(i * len(known) / steps + 1e-9) for i in range(steps)]
        got = schedule.timesteps(steps, strength)
        assert got.tolist() == known[expected].tolist()
        assert got[0] == known[0]


def test_timesteps_refuse_more_steps_than_are_known() -> None:
    with pytest.raises(ValueError, match=r"got 101 steps at strength 1; expected 1 to 100"):
        Schedule().timesteps(101)
    with pytest.raises(ValueError, match="expected 1 to 10 "):
        Schedule().timesteps(11, strength=0.1)
    with pytest.raises(ValueError, match="got 0 steps"):
        Schedule().timesteps(0)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="got original_steps 300; expected a divisor of 1000"):
        Schedule(original_steps=300)
    with pytest.raises(ValueError, match="got beta_end"):
        Schedule(beta_end=0.0001)


def test_custom_keeps_what_is_zero() -> None:
    assert custom("image to video") == SCHEDULES["image to video"]
    changed = custom("image to video", beta_end=0.013, original_steps=50)
    assert (changed.beta_end, changed.original_steps, changed.beta) == (0.013, 50, "linear")
    assert SCHEDULES["animatediff"].original_steps == TRAIN_STEPS
