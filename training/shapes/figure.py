"""Figure 5 of the paper on the small world: what each way of training reaches, over counted arithmetic.

    python -m training.shapes.figure --runs runs/ablation

reads every `evaluations.jsonl` under the folder and writes docs/results/shapes/fig5.json and fig5.png.
A row: arm (paper, without_init, without_decouple), seed, step, tflop (counted arithmetic of training so far,
image stage included where the arm has one), frechet, all_right.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..eval.intervals import over_seeds
from ..eval.metrics import frechet
from . import judge, pictures
from .arms import Arm, Setting, sample
from .cells import BATCH
from .measure import NAMES, Measured, Space, asked_labels, captions_of, measure
from .results import about, shown

ROOT = Path(__file__).resolve().parents[2]
SEED, REAL_SEED, REAL = 71, 51, 900
FILE = "evaluations.jsonl"
METRICS = ("frechet", "all_right")


@dataclass(frozen=True)
class Evaluation:
    """One point of a curve. tflop: 10^12 multiplications and additions of training up to `step`."""

    arm: str
    seed: int
    step: int
    tflop: float
    frechet: float
    all_right: float


def evaluate_checkpoint(
    arm: Arm, net: judge.BodyNet, space: Space, clips: int = 90, steps: int = 4, seed: int = SEED
) -> dict[str, float]:
    """Numbers of the model as it is: `steps` of consistency sampling without guidance.

    Keys: frechet, caption_agreement, colour, shape, motion, all_right. Every call has the same captions and
    noise, so checkpoints and arms are paired; Frechet distances compare at equal `clips` only.
    """
    labels, parts = asked_labels(clips), []
    for start in range(0, clips, BATCH):
        part = labels[start : start + BATCH]
        pixels = sample(arm, Setting("lcm", steps), captions_of(part), seed, start)
        parts.append(measure(pixels, part, net))
    measured = Measured.joined(parts)
    shares = measured.right.double().mean(0).tolist()
    return {
        "frechet": frechet(space.reference, space.place(measured.features)),
        "caption_agreement": float(measured.agreement.mean()),
        **{"all_right" if name == "all" else name: share for name, share in zip(NAMES, shares, strict=True)},
    }


def record(folder: Path, row: Evaluation) -> None:
    """Append to `folder/evaluations.jsonl`; a resumed run that repeats a step replaces its row when read."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="ascii") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def read_rows(runs: Path) -> list[Evaluation]:
    """All rows under `runs`, the last of each arm, seed and step, sorted. ValueError if there are none."""
    latest: dict[tuple[str, int, int], Evaluation] = {}
    for path in sorted(runs.rglob(FILE)):
        for line in path.read_text(encoding="ascii").splitlines():
            row = Evaluation(**json.loads(line))
            latest[row.arm, row.seed, row.step] = row
    if not latest:
        raise ValueError(
            f"got no {FILE} under {runs.name}; expected rows of evaluated checkpoints. Train first."
        )
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


def figure(rows: list[Evaluation]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """arm -> metric -> curve."""
    arms = sorted({row.arm for row in rows})
    return {arm: {m: curve([r for r in rows if r.arm == arm], m) for m in METRICS} for arm in arms}


def plot(rows: list[Evaluation], path: Path) -> None:
    """Curves with their intervals, every seed as a thin line."""
    drawing, axes = pictures.canvas(2, (12, 4.5))
    for axis, metric in zip(axes, METRICS, strict=True):
        for number, (arm, curves) in enumerate(figure(rows).items()):
            points, colour = curves[metric], f"C{number}"
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
    drawing.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.shapes.figure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "results" / "shapes")
    options = parser.parse_args()
    rows = read_rows(options.runs)
    content = {
        **about(f"python -m training.shapes.figure --runs {shown(options.runs)}"),
        "rows": [asdict(row) for row in rows],
        "curves": figure(rows),
    }
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "fig5.json").write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
    plot(rows, options.to / "fig5.png")


if __name__ == "__main__":
    main()
