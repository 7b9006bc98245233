"""The small training loop: a run that is cut and resumed equals one that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.small_world.teacher.loop import Recipe, train

RECIPE = Recipe(steps=12, batch=4, lr=1e-2, warmup=3, save_every=5)


def fit(out: Path, steps_before_cut: int | None = None) -> tuple[dict[str, Tensor], nn.Module]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    calls = 0

    def loss_of(generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if steps_before_cut is not None and calls > steps_before_cut:
            raise KeyboardInterrupt
        x = torch.randn(RECIPE.batch, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return train("line", RECIPE, model, loss_of, out), model


def test_resume_is_bit_for_bit(tmp_path: Path) -> None:
    whole, model = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", steps_before_cut=8)  # last saved after step 5
    resumed, again = fit(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert torch.equal(model.weight, again.weight)


def test_not_finite_stops_and_keeps_the_last_good(tmp_path: Path) -> None:
    fit(tmp_path, None)
    good = (tmp_path / "line.pt").read_bytes()
    model = nn.Linear(3, 1)
    with pytest.raises(FloatingPointError, match="nan"):
        train(
            "line",
            replace(RECIPE, steps=20),
            model,
            lambda g: model(torch.full((1, 3), torch.nan)).sum(),
            tmp_path,
        )
    assert (tmp_path / "line.pt").read_bytes() == good
