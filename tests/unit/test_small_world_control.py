"""Measures of controlled video: what follows its hints is told from what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.small_run import CHECKPOINT, DEMO, write_adapter
from training.adapters import Control, load_adapter
from training.config import HintConfig
from training.small_world.measure.control_metrics import ControlMetrics, HintSet
from training.small_world.measure.control_model import ControlModel
from training.small_world.paths import JUDGE
from training.small_world.world import judge

HINT = HintConfig(low=0.2, high=0.4, sigma=0.5)


@pytest.fixture(scope="module")
def net() -> judge.BodyNet:
    return judge.load(JUDGE)


@pytest.fixture(scope="module")
def hint_set() -> HintSet:
    return HintSet.sample(6, HINT)


@pytest.fixture(scope="module")
def model() -> ControlModel:
    files = DEMO / "shapes_lcm_lora.safetensors", DEMO / "shapes_lcm_motion.safetensors"
    return ControlModel.load(CHECKPOINT, *files)


def test_the_hinted_clip_itself_follows_its_hints(hint_set: HintSet, net: judge.BodyNet) -> None:
    found = ControlMetrics.measure(hint_set.pixels, hint_set, net)
    assert torch.equal(found.overlap, torch.ones(6))
    assert found.flicker_outline.max() == 0
    assert found.flicker_colour.max() < 0.01
    assert found.flicker_water.max() < 0.002
    assert found.colour.all()
    assert found.body.float().mean() > 0.8


def test_what_strays_and_flickers_is_seen(hint_set: HintSet, net: judge.BodyNet) -> None:
    true = ControlMetrics.measure(hint_set.pixels, hint_set, net)
    moved = ControlMetrics.measure(hint_set.pixels.roll(8, dims=-1), hint_set, net)
    assert (moved.overlap < 0.8).all()
    shaken = hint_set.pixels.clone()
    shaken[:, ::2] = shaken[:, ::2].roll(2, dims=-2)
    assert (ControlMetrics.measure(shaken, hint_set, net).flicker_outline > 0.05).all()
    bright = hint_set.pixels.clone()
    bright[:, ::2] *= 0.8
    found = ControlMetrics.measure(bright, hint_set, net)
    assert (found.flicker_colour > true.flicker_colour + 0.05).all()
    assert (found.flicker_water > true.flicker_water + 0.02).all()
    change = moved.change_from(true)
    assert change["overlap_interval95"][0] < change["overlap"] < change["overlap_interval95"][1] < -0.2
    assert true.change_from(true)["overlap"] == 0
    row = moved.row("moved")
    assert row["overlap_interval95"][0] < row["overlap"] < row["overlap_interval95"][1]


def test_hints_are_edges_that_move_with_the_creature(hint_set: HintSet) -> None:
    assert hint_set.hints.shape == hint_set.pixels.shape
    mask = judge.colourfulness(hint_set.pixels)[0]
    near = torch.nn.functional.max_pool2d(mask, 7, stride=1, padding=3)
    on = hint_set.hints[:, :, 0]
    assert (on * near).sum() > 0.97 * on.sum() > 0


def test_a_control_guides_the_model(model: ControlModel, hint_set: HintSet, tmp_path: Path) -> None:
    few = hint_set.first(1)
    free = model.sample(few, None)
    assert free.shape == few.pixels.shape
    assert torch.equal(model.sample(few, None), free)
    path = write_adapter(tmp_path / "t2i.safetensors", "t2i_adapter")
    control = Control("t2i_adapter", load_adapter(path, "t2i_adapter", model.base.unet), model.base.unet)
    controlled = model.sample(few, control)
    assert (controlled - free).abs().max() > 0.05
    other = HintSet(few.captions, few.pixels, hint_set.hints[1:2], few.labels)
    assert (model.sample(other, control) - controlled).abs().max() > 0.01


def test_one_step_comes_nearer_the_less_noise_there_is(model: ControlModel, hint_set: HintSet) -> None:
    network = load_adapter(DEMO / "shapes_t2i_adapter.safetensors", "t2i_adapter", model.base.unet)
    few, control = hint_set.first(2), Control("t2i_adapter", network, model.base.unet)
    rows = model.levels(few, model.encode(few), control)
    assert [row["t"] for row in rows] == [999, 749, 499, 249]
    assert rows[-1]["overlap"] > max(0.7, rows[0]["overlap"])
    assert rows[-1]["distance"] < 0.3 * rows[0]["distance"]
    assert abs(rows[-1]["spread"] - 1) < 0.1
