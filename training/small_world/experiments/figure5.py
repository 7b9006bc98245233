"""The paper's Figure 5 on the small world: quality of each way of training, over counted arithmetic.

    python -m training.small_world figure5

reads docs/results/shapes/ablation.jsonl, a line for each evaluated checkpoint, and writes fig5.json and
fig5.webp beside it. A row: arm (paper, without_init, without_decouple), seed, step, tflop (counted arithmetic
of training so far, image stage included where the arm has one), frechet, all_right, and made_of, which files
it started from.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from animatelcm_core.atomic import write_text

from ...eval.intervals import over_seeds
from ...eval.metrics import frechet
from ...pipeline import Pipeline, Sampling
from ..measure import pictures
from ..measure.cells import BATCH
from ..measure.metrics import NAMES, Measurements, Space, measure_clips
from ..measure.pipelines import sample
from ..measure.results import about
from ..paths import RESULTS
from ..world import judge
from ..world.clips import captions_of, labels_in_turn

SEED, REAL_SEED, REAL = 71, 51, 900
FILE = "ablation.jsonl"
METRICS = ("frechet", "all_right")


@dataclass(frozen=True)
class Evaluation:
    """One point of a curve. tflop: 10^12 multiplications and additions of training up to `step`.

    made_of: digest of checkpoint, teacher and LoRA, so that runs of different origin are never mixed up.
    """

    arm: str
    seed: int
    step: int
    tflop: float
    frechet: float
    all_right: float
    made_of: str = ""


def evaluate_checkpoint(
    model: Pipeline, net: judge.BodyNet, space: Space, clips: int = 90, steps: int = 4, seed: int = SEED
) -> dict[str, float]:
    """Measure the model as it is: `steps` of consistency sampling without guidance.

    Keys: frechet, caption_agreement, colour, shape, motion, all_right. Every call has the same captions and
    noise, so checkpoints and arms are paired; Frechet distances compare at equal `clips` only.
    """
    labels, parts = labels_in_turn(clips), []
    for start in range(0, clips, BATCH):
        part = labels[start : start + BATCH]
        pixels = sample(model, Sampling("lcm", steps), captions_of(part), seed, start)
        parts.append(measure_clips(pixels, part, net))
    measured = Measurements.join(parts)
    shares = measured.right.double().mean(0).tolist()
    return {
        "frechet": frechet(space.reference, space.place(measured.features)),
        "caption_agreement": float(measured.agreement.mean()),
        **{"all_right" if name == "all" else name: share for name, share in zip(NAMES, shares, strict=True)},
    }


def record(file: Path, row: Evaluation) -> None:
    """Append `row` to `file`; if a resumed run repeats a step, `read_rows` takes the later row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="ascii") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def read_rows(file: Path, made_of: str | None = None) -> list[Evaluation]:
    """The last row of each arm, seed and step, sorted; of these files, or of all.

    Raises ValueError if there is none, or if they started from different files.
    """
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    rows = [Evaluation(**json.loads(line)) for line in lines]
    rows = [row for row in rows if made_of in (None, row.made_of)]
    origins = {row.made_of for row in rows}
    if len(origins) != 1:
        found = f"rows of {len(origins)} sets of files" if origins else "no rows"
        raise ValueError(
            f"got {found} in {file.name}; expected rows of evaluated checkpoints, of one set. Train first, "
            "or remove the older ones."
        )
    latest = {(row.arm, row.seed, row.step): row for row in rows}
    return [latest[key] for key in sorted(latest)]


def curve(rows: list[Evaluation], metric: str) -> list[dict[str, Any]]:
    """Mean and 95 % interval over the seeds of one arm, at every step that all of its seeds have reached."""
    seeds = {row.seed for row in rows}
    by_step: dict[int, list[Evaluation]] = defaultdict(list)
    for row in rows:
        by_step[row.step].append(row)
    points = []
    for step, found in sorted(by_step.items()):
        if len(found) < len(seeds):
            continue
        values = torch.tensor([getattr(row, metric) for row in found], dtype=torch.float64)
        mean, low, high = over_seeds(values)
        tflop = sum(row.tflop for row in found) / len(found)
        points.append({"step": step, "tflop": tflop, "mean": mean, "low": low, "high": high})
    return points


def curves(rows: list[Evaluation]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """arm -> metric -> curve."""
    arms = sorted({row.arm for row in rows})
    return {arm: {m: curve([r for r in rows if r.arm == arm], m) for m in METRICS} for arm in arms}


def plot(rows: list[Evaluation], path: Path) -> None:
    """Curves with their intervals, every seed as a thin line."""
    drawing, axes = pictures.canvas(2, (12, 4.5))
    for axis, metric in zip(axes, METRICS, strict=True):
        for number, (arm, by_metric) in enumerate(curves(rows).items()):
            points, colour = by_metric[metric], f"C{number}"
            x = [p["tflop"] for p in points]
            axis.plot(x, [p["mean"] for p in points], color=colour, label=arm.replace("_", " "), linewidth=2)
            axis.fill_between(
                x, [p["low"] for p in points], [p["high"] for p in points], color=colour, alpha=0.15
            )
            for seed in sorted({r.seed for r in rows if r.arm == arm}):
                mine = [r for r in rows if r.arm == arm and r.seed == seed]
                axis.plot(
                    [r.tflop for r in mine], [getattr(r, metric) for r in mine], color=colour, linewidth=0.5
                )
        axis.set_xlabel("training arithmetic, TFLOP")
        axis.set_ylabel(metric.replace("_", " "))
    axes[0].set_yscale("log")
    axes[0].legend()
    pictures.save_plot(drawing, path)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=RESULTS)


def main(options: argparse.Namespace) -> None:
    rows = read_rows(options.to / FILE)
    content = {
        **about("python -m training.small_world figure5"),
        "rows": [asdict(row) for row in rows],
        "curves": curves(rows),
    }
    options.to.mkdir(parents=True, exist_ok=True)
    write_text(options.to / "fig5.json", json.dumps(content, indent=1) + "\n")
    plot(rows, options.to / "fig5.webp")
