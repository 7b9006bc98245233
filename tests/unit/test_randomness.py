"""What is drawn for a seed and a position is the same in every release: runs resume, measures are paired."""

from __future__ import annotations

import pytest
import torch

from training.randomness import generator_for, permutation, sample_generator


def draws(generator: torch.Generator) -> list[int]:
    return torch.randint(1 << 30, (3,), generator=generator).tolist()


@pytest.mark.parametrize(
    ("seed", "position", "expected"),
    [
        (0, 0, [398764591, 404868288, 463622907]),
        (7, 40, [397931368, 89652438, 136701459]),
        (40_000, 20, [843691297, 200215021, 31049472]),
        (~7, 3, [378435686, 149358216, 118427427]),
        (2**62, 3, [303761048, 386328195, 521102280]),
    ],
)
def test_a_position_of_a_run_has_these_numbers(seed, position, expected):
    assert draws(sample_generator(seed, position)) == expected


def test_a_purpose_has_these_numbers():
    assert draws(generator_for(7, "noise", 3)) == [628507155, 19563650, 280970320]
    assert permutation(5, 7, "epoch", 1).tolist() == [0, 2, 4, 1, 3]


def test_neighbours_share_nothing():
    at = [draws(sample_generator(seed, position)) for seed in (0, 1) for position in (0, 1)]
    at += [draws(generator_for(seed, purpose, 0)) for seed in (0, 1) for purpose in ("a", "b")]
    assert len({tuple(numbers) for numbers in at}) == len(at)


def test_the_caller_s_random_state_stays():
    before = torch.get_rng_state()
    draws(sample_generator(1, 2))
    permutation(10, 1, "epoch", 0)
    assert torch.equal(torch.get_rng_state(), before)
