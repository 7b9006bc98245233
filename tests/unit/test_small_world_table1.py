"""Table 1 and figure 5 of the small world: cells survive a cut; rows, claims, curves. No trained model."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from animatelcm_core.schedule import SCHEDULES
from training.pipeline import Pipeline, Sampling
from training.randomness import sample_generator
from training.small_world.experiments import figure5, table1, table1_plan
from training.small_world.experiments.table1_plan import TablePlan
from training.small_world.measure import cells, pictures
from training.small_world.measure.cells import Cell, fill, load_cell
from training.small_world.measure.metrics import NAMES, Measurements, Space, real_clips
from training.small_world.measure.pipelines import ModelFiles, sample
from training.small_world.measure.results import Result, find, frechet_claims, result, row, teacher_claims
from training.small_world.world import judge
from training.small_world.world.clips import BODIES, COLOURS, MOTIONS, draw, sample_clips

CELL = Cell("animatelcm", "fake", Sampling("lcm", 2), clips=30, seed=3)


@pytest.fixture(scope="module")
def net() -> judge.BodyNet:
    torch.manual_seed(0)
    return judge.BodyNet().eval()


@pytest.fixture(scope="module")
def space(net: judge.BodyNet) -> Space:
    return Space(real_clips(30, 1, net).features)


def fake(wrong: float = 0.0, fail_after: int = 10**9) -> Pipeline:
    """Shows a real clip of every caption, but for a share `wrong` of grey ones; raises after some batches."""
    asked: list[list[str]] = []

    def encode(captions: list[str]) -> Tensor:
        if captions != [""]:
            if len(asked) >= fail_after:
                raise KeyboardInterrupt
            asked.append(captions)
        return torch.zeros(len(captions), 1, 1)

    def decode(latents: Tensor) -> Tensor:
        texts, names = asked[-1], list(COLOURS)
        words = [text.split() for text in texts]
        labels = torch.tensor(
            [
                (
                    BODIES.index(w[2]),
                    names.index(w[1]),
                    MOTIONS.index(w[4]) if len(w) > 4 else 0,
                )
                for w in words
            ]
        )
        seed = int(latents.abs().sum() * 1000)
        clips = draw(sample_clips(len(texts), sample_generator(seed, 0), labels))
        clips[: round(wrong * len(texts))] = 0.5
        return clips

    return Pipeline(lambda x, t, c: 0.5 * x, SCHEDULES["text to video"], encode, decode)


def test_noise_is_paired_between_settings() -> None:
    seen: list[Tensor] = []
    pipeline = replace(fake(), eps=lambda x, t, c: (seen.append(x.clone()), 0.5 * x)[1])
    teacher = replace(pipeline, schedule=SCHEDULES["animatediff"])
    texts = ["a red fish sleeping", "a blue crab swimming up"]
    sample(pipeline, Sampling("lcm", 1), texts, seed=5, start=10)
    sample(teacher, Sampling("ddim", 1, 1.0, "trailing"), texts, seed=5, start=10)
    sample(teacher, Sampling("dpm++", 1, 3.0, "leading"), texts, seed=5, start=10)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2][:2])
    assert torch.equal(seen[0], seen[2][2:])  # both halves of guidance
    sample(pipeline, Sampling("lcm", 1), texts, seed=5, start=20)
    assert not torch.equal(seen[0], seen[3])


def test_a_cut_loses_at_most_one_batch(tmp_path: Path, net: judge.BodyNet) -> None:
    fill(tmp_path / "whole", [CELL], {"fake": fake()}, net)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "cut", [CELL], {"fake": fake(fail_after=2)}, net)
    with pytest.raises(FileNotFoundError):
        load_cell(tmp_path / "cut", CELL)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.safetensors")}
    assert len(done) == 2
    fill(tmp_path / "cut", [CELL], {"fake": fake(fail_after=1)}, net, backwards=True)  # only the third
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    a, b = (load_cell(tmp_path / name, CELL) for name in ("whole", "cut"))
    assert torch.equal(a.features, b.features)
    assert torch.equal(a.right, b.right)
    assert not list(tmp_path.rglob("*.part"))


def measured(all_right: float, shift: float, space: Space, n: int = 60) -> Measurements:
    right = torch.ones(n, len(NAMES), dtype=torch.bool)
    right[: round((1 - all_right) * n), NAMES.index("motion") :] = False
    rows = torch.randint(len(space.real), (n,), generator=torch.Generator().manual_seed(1))
    return Measurements(right, torch.full((n,), 100 * all_right), space.real[rows] + shift)


def results_for(space: Space, baseline_shift: float, ours: float) -> list[Result]:
    plan = TablePlan(clips=60, personal=False)
    cells_ = plan.fixed()
    cells_ += [replace(cell, why="best") for cell in plan.grid()]
    shift = {"animatelcm": 0.1, "teacher": 0.1, "ddim": baseline_shift, "dpm++": baseline_shift}
    share = {"animatelcm": ours, "teacher": 0.9, "ddim": 0.3, "dpm++": 0.3}
    return [result(c, measured(share[c.method], shift[c.method], space), space, draws=20) for c in cells_]


def test_claims_tell_reached_from_not(space: Space) -> None:
    good = results_for(space, baseline_shift=2.0, ours=0.9)
    assert all(line["reached"] for line in frechet_claims(good) + teacher_claims(good))
    assert len(frechet_claims(good)) == 2 * 2 * 3 * 2  # solvers, spacings, steps 1 2 4, paper and best
    bad = results_for(space, baseline_shift=0.1, ours=0.8)
    lines = frechet_claims(bad)
    assert not any(line["reached"] for line in lines if "paper" in line["claim"])
    assert all(line["got"] == 1 for line in lines)
    right, colour = teacher_claims(bad)
    assert not right["reached"]
    assert math.isclose(right["got"], -0.1, abs_tol=1e-4)
    assert colour["reached"]


def test_rows_have_every_number_with_its_interval(space: Space) -> None:
    line = row(find(results_for(space, 2.0, 0.9), "animatelcm", 4))
    assert (line["method"], line["steps"], line["guidance"], line["clips"]) == ("animatelcm", 4, 1.0, 60)
    for key in ("frechet", "caption_agreement", "all_right", "colour", "shape", "motion"):
        low, high = line[f"{key}_interval95"]
        assert low <= line[key] <= high
    assert line["all_right"] == 0.9
    json.dumps(line)


def test_best_guidance_is_the_least_frechet_of_its_setting(space: Space) -> None:
    plan, tried = TablePlan(), []
    for cell in plan.search():
        off = abs(cell.sampling.guidance - (2.0 if cell.sampling.sampler == "ddim" else 3.0))
        tried.append(result(cell, measured(0.5, off, space), space, draws=2))
    best = plan.best(tried)
    assert len(best) == len(plan.grid()) == 16
    assert {(c.method, c.sampling.guidance) for c in best} == {("ddim", 2.0), ("dpm++", 3.0)}
    assert {(c.clips, c.seed, c.why) for c in best} == {(200, table1_plan.SEED, "best")}
    assert table1_plan.SEARCH_SEED != table1_plan.SEED


def test_another_model_is_not_mixed_in(tmp_path: Path) -> None:
    files = []
    for i in range(2):
        path = tmp_path / f"{i}.safetensors"
        save_file({"x": torch.full((2,), float(i))}, path)
        files.append(ModelFiles(path, path))
    assert files[0].digest() != files[1].digest()
    assert files[0].digest() != replace(files[0], lora=files[1].checkpoint).digest()
    table1.check_same_files(tmp_path / "run", {"teacher": files[0].digest()})
    table1.check_same_files(tmp_path / "run", {"teacher": files[0].digest(), "animatelcm": "new"})
    with pytest.raises(ValueError, match="teacher"):
        table1.check_same_files(tmp_path / "run", {"teacher": files[1].digest()})


def test_table_is_drawn(tmp_path: Path, space: Space, net: judge.BodyNet) -> None:
    results = results_for(space, 2.0, 0.9)
    floors = {"real_versus_real": {"frechet": 5.0}}
    pictures.plot_table({"rows": [row(r) for r in results], "floors": floors}, tmp_path / "table1.webp")
    one = replace(CELL, clips=10)
    fill(tmp_path, [one], {"fake": fake()}, net)
    pictures.save_cells(tmp_path, [one, one], tmp_path / "sheet.webp")
    from PIL import Image

    wide, high = Image.open(tmp_path / "sheet.webp").size
    assert (wide, high) == (2 * 64 * cells.THUMBS * pictures.SHOWN, 2 * 64 * 2)
    assert Image.open(tmp_path / "table1.webp").size[0] > 1000


def options_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    table1.add_options(parser)
    return parser.parse_args(words)


def test_whole_table_from_files_to_json(tmp_path: Path, space: Space) -> None:
    """The command at its smoke size, with models that show one batch of real clips over and over."""
    clips = (draw(sample_clips(10, sample_generator(8, 0))),)
    pipeline = replace(fake(), schedule=SCHEDULES["animatediff"], decode=lambda latents: clips[0])
    some = Measurements(torch.ones(90, 4, dtype=torch.bool), torch.ones(90), space.real.repeat(3, 1))
    sources = table1.Sources(
        load_pipeline=lambda files: pipeline,
        real_clips=lambda n, seed, net, drawing=None: some,
        through_vae=lambda checkpoint, n, seed, net: some,
        bootstrap_draws=10,
    )
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    words = [f"--{name}={tmp_path / 'w.safetensors'}" for name in ("lora", "motion", "personal")]
    words += [f"--out={tmp_path / 'run'}", f"--to={tmp_path / 'to'}", "--smoke", "--threads=1"]
    table1.main(options_of(words), sources)
    made = json.loads((tmp_path / "to" / "table1.json").read_text(encoding="ascii"))
    assert len(made["rows"]) == 2 * 2 + 4 + 1 + 4  # students, paper, teacher, best
    assert len(made["search"]) == 2 * 2 * 2
    assert len({row["frechet"] for row in made["rows"]}) == 1  # the same clips everywhere
    assert str(tmp_path.parent) not in json.dumps(made)
    assert {path.name for path in (tmp_path / "to").iterdir()} == {
        "table1.json",
        "table1.webp",
        "table1_clips.webp",
    }


def test_command_names_no_place_on_this_machine(tmp_path: Path) -> None:
    words = [
        "--lora",
        str(tmp_path / "lora.safetensors"),
        "--motion",
        "m.safetensors",
        "--out",
        str(tmp_path),
    ]
    line = table1.command(options_of(words))
    assert str(tmp_path.parent) not in line
    assert "--lora lora.safetensors" in line
    assert "--checkpoint demo/shapes_sd.safetensors" in line


def test_evaluation_of_a_checkpoint(net: judge.BodyNet, space: Space) -> None:
    good, half = (figure5.evaluate_checkpoint(fake(w), net, space, clips=20) for w in (0.0, 0.5))
    assert good["colour"] == good["motion"] == 1
    assert half["colour"] == half["motion"] == 0.5
    assert half["frechet"] > good["frechet"]
    assert half == figure5.evaluate_checkpoint(fake(0.5), net, space, clips=20)


def evaluations(tmp_path: Path) -> list[figure5.Evaluation]:
    for arm, level in (("paper", 0.6), ("without_decouple", 0.4)):
        for seed in (0, 1, 2):
            for step in (100, 200):
                value = level + 0.1 * seed + step / 1000
                line = figure5.Evaluation(arm, seed, step, step / 10, 10 / value, value)
                figure5.record(tmp_path / figure5.FILE, line)
    figure5.record(tmp_path / figure5.FILE, figure5.Evaluation("paper", 0, 200, 20.0, 1.0, 1.0))  # resumed
    figure5.record(
        tmp_path / figure5.FILE, figure5.Evaluation("paper", 0, 300, 30.0, 1.0, 1.0)
    )  # seed 0 only
    return figure5.read_rows(tmp_path / figure5.FILE)


def test_curves_are_over_seeds(tmp_path: Path) -> None:
    rows = evaluations(tmp_path)
    assert len(rows) == 13
    curves: dict[str, Any] = figure5.curves(rows)
    points = curves["paper"]["all_right"]
    assert [p["step"] for p in points] == [100, 200]  # where all seeds have been
    assert math.isclose(points[0]["mean"], 0.8)
    assert math.isclose(points[1]["mean"], (1.0 + 0.9 + 1.0) / 3)
    assert math.isclose(points[0]["high"] - 0.8, 4.302653 * 0.1 / 3**0.5, rel_tol=1e-5)
    figure5.plot(rows, tmp_path / "fig5.webp")
    assert (tmp_path / "fig5.webp").stat().st_size > 10_000
    with pytest.raises(ValueError, match="got no rows in none.jsonl"):
        figure5.read_rows(tmp_path / "none.jsonl")


def test_rows_of_other_files_are_not_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / figure5.FILE
    for made_of, share in (("a", 0.5), ("b", 0.9)):
        figure5.record(file, figure5.Evaluation("paper", 0, 100, 1.0, 2.0, share, made_of))
    assert [row.all_right for row in figure5.read_rows(file, "b")] == [0.9]
    with pytest.raises(ValueError, match="got no rows"):
        figure5.read_rows(file, "c")
    with pytest.raises(ValueError, match="rows of 2 sets of files"):
        figure5.read_rows(file)
