"""Windows over a long clip: every frame is covered, neighbours overlap, no noise comes twice in one."""

from __future__ import annotations

import pytest

from animatelcm_core import context

LENGTHS = [16, 17, 24, 33, 64, 100, 128]


def covered(windows: list[list[int]]) -> set[int]:
    return {frame for window in windows for frame in window}


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("overlap", [0, 1, 4, 8, 15])
def test_standard_covers_the_clip_with_few_windows(frames: int, overlap: int) -> None:
    windows = context.standard(frames, 16, overlap, 0)
    assert covered(windows) == set(range(frames))
    assert all(window == list(range(window[0], window[0] + 16)) for window in windows)
    for a, b in zip(windows, windows[1:], strict=False):
        assert len(set(a) & set(b)) >= overlap
    assert len(windows) <= 1 + -(-(frames - 16) // (16 - overlap))
    assert context.standard(frames, 16, overlap, 3) == windows


@pytest.mark.parametrize("frames", LENGTHS[1:])
@pytest.mark.parametrize("step", range(5))
def test_looped_closes_the_circle(frames: int, step: int) -> None:
    windows = context.looped(frames, 16, 4, step)
    assert covered(windows) == set(range(frames))
    for window in windows:
        assert len(set(window)) == 16
        assert all((b - a) % frames == 1 for a, b in zip(window, window[1:], strict=False))
    for a, b in zip(windows, [*windows[1:], windows[0]], strict=True):
        assert len(set(a) & set(b)) >= 4
    assert any(0 in window and frames - 1 in window for window in windows)


def test_looped_moves_on() -> None:
    starts = [context.looped(64, 16, 4, step)[0][0] for step in range(4)]
    assert len(set(starts)) == 4
    assert [context.halves(step) for step in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


@pytest.mark.parametrize("frames", LENGTHS)
def test_batched_leaves_no_rest(frames: int) -> None:
    windows = context.batched(frames, 16, 4, 0)
    assert [frame for window in windows for frame in window] == list(range(frames))
    sizes = [len(window) for window in windows]
    assert max(sizes) <= 16
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("schedule", context.SCHEDULES.values())
@pytest.mark.parametrize("frames", [1, 8, 16])
def test_a_clip_of_one_window_is_left_whole(schedule: context.Schedule, frames: int) -> None:
    assert schedule(frames, 16, 4, 1) == [list(range(frames))]


@pytest.mark.parametrize("name", context.FUSES)
@pytest.mark.parametrize("length", [1, 2, 15, 16])
@pytest.mark.parametrize("overlap", [0, 4])
def test_weights_are_even_on_both_sides(name: str, length: int, overlap: int) -> None:
    weights = context.FUSES[name](length, overlap)
    assert len(weights) == length
    assert min(weights) > 0
    assert weights == weights[::-1]
    assert weights[length // 2] == max(weights)
    if length == 16:
        assert (weights[0] < weights[8]) == (name == "pyramid" or (name == "linear" and overlap > 0))


@pytest.mark.parametrize("schedule", ["standard", "looped"])
@pytest.mark.parametrize("frames", LENGTHS[1:])
def test_freenoise_repeats_nothing_within_a_window(schedule: str, frames: int) -> None:
    windows = context.SCHEDULES[schedule](frames, 16, 4, 0)
    order = context.freenoise_order(windows, frames, 5)
    assert [order[frame] for frame in windows[0]] == windows[0]
    for window in windows:
        assert len({order[frame] for frame in window}) == len(window)
    from_first = [set(order[f] for f in window) == set(windows[0]) for window in windows]
    assert all(from_first[: -2 if schedule == "looped" else None])
    assert context.freenoise_order(windows, frames, 5) == order
    if frames > 32:
        assert context.freenoise_order(windows, frames, 6) != order
