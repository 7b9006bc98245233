"""The numbers of a table's cells with their intervals, and the claims that they support."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...eval.intervals import bootstrap, centred_interval, wilson
from ...eval.metrics import Gaussian, distance
from ..paths import ROOT
from .cells import Cell
from .metrics import NAMES, Measurements, Space

DRAWS = 200


@dataclass(eq=False)
class Result:
    """One cell, measured. The draws (DRAWS,) are of the same clips in every cell of equal size: paired."""

    cell: Cell
    measured: Measurements
    frechet: float
    frechet_draws: Tensor
    all_draws: Tensor


def result(cell: Cell, measured: Measurements, space: Space, draws: int = DRAWS) -> Result:
    """Frechet distance from the space's real clips, and bootstrap draws of it and of the share all right."""
    right = measured.right[:, NAMES.index("all")].double()
    all_draws = bootstrap(lambda clips: float(right[clips].mean()), len(right), draws)
    return Result(cell, measured, *frechet_of(measured, space, draws), all_draws)


def frechet_of(measured: Measurements, space: Space, draws: int = DRAWS) -> tuple[float, Tensor]:
    """Frechet distance from the space's real clips, and its bootstrap draws (draws,)."""
    reference, features = Gaussian.of(space.reference), space.place(measured.features)
    spread = bootstrap(lambda clips: distance(reference, Gaussian.of(features[clips])), len(features), draws)
    return distance(reference, Gaussian.of(features)), spread


def rounded(values: tuple[float, float], places: int) -> list[float]:
    """The ends of an interval, rounded."""
    return [round(value, places) for value in values]


def row(result: Result) -> dict[str, Any]:
    """One row of table1.json: every number with its 95 % interval."""
    setting = result.cell.sampling
    return {
        "method": result.cell.method,
        "steps": setting.steps,
        "guidance": setting.guidance,
        "spacing": setting.spacing,
        "guidance_is": result.cell.why,
        "clips": len(result.measured.agreement),
        **numbers(result.measured, result.frechet, result.frechet_draws),
    }


def numbers(measured: Measurements, frechet: float, frechet_draws: Tensor) -> dict[str, Any]:
    """Numbers of measured clips with 95 % intervals: distance, caption agreement, shares that are right."""
    n = len(measured.agreement)
    agreement = float(measured.agreement.mean())
    spread = bootstrap(lambda clips: float(measured.agreement[clips].mean()), n, len(frechet_draws))
    out: dict[str, Any] = {
        "frechet": round(frechet, 3),
        "frechet_interval95": rounded(centred_interval(frechet_draws, frechet), 3),
        "caption_agreement": round(agreement, 2),
        "caption_agreement_interval95": rounded(centred_interval(spread, agreement), 2),
    }
    for i, name in enumerate(NAMES):
        hits, key = int(measured.right[:, i].sum()), "all_right" if name == "all" else name
        out[key] = round(hits / n, 4)
        out[f"{key}_interval95"] = list(wilson(hits, n))
    return out


def find(results: list[Result], method: str, steps: int | None = None) -> Result:
    """The cell of a method that has one (at this number of steps). ValueError for none or several."""
    (one,) = [r for r in results if r.cell.method == method and steps in (None, r.cell.sampling.steps)]
    return one


def claim(text: str, got: float, interval: tuple[float, float], low: float, high: float) -> dict[str, Any]:
    """A claim: it is `reached` if `got` is within low..high, `certain` if the whole interval is."""
    return {
        "claim": text,
        "got": round(got, 4),
        "interval95": rounded(interval, 4),
        "reached": low <= got <= high,
        "certain": low <= interval[0] and interval[1] <= high,
    }


def frechet_claims(results: list[Result]) -> list[dict[str, Any]]:
    """AnimateLCM's Frechet distance over each baseline's, at the paper's guidance and at its best."""
    out = []
    for theirs in results:
        setting, why = theirs.cell.sampling, theirs.cell.why
        if why not in ("paper", "best") or setting.steps not in (1, 2, 4):
            continue
        ours = find(results, "animatelcm", setting.steps)
        bound = 0.5 if why == "paper" else (1.05 if setting.steps == 4 else 1.0)
        got = ours.frechet / theirs.frechet
        text = (
            f"Frechet distance at {setting.steps} steps over that of {theirs.cell.method} "
            f"({setting.spacing}, guidance {setting.guidance:g}, {why}): at most {bound:g}"
        )
        interval = centred_interval(ours.frechet_draws / theirs.frechet_draws, got)
        out.append(claim(text, got, interval, 0, bound))
    return out


def teacher_claims(results: list[Result]) -> list[dict[str, Any]]:
    """AnimateLCM at 4 steps beside the teacher at 25 guided ones, and its colours."""
    ours, teacher = find(results, "animatelcm", 4), find(results, "teacher")
    right = [float(r.measured.right[:, NAMES.index("all")].double().mean()) for r in (ours, teacher)]
    got = right[0] - right[1]
    interval = centred_interval(ours.all_draws - teacher.all_draws, got)
    colours = ours.measured.right[:, NAMES.index("colour")]
    share = float(colours.double().mean())
    return [
        claim("all right at 4 steps less that of the teacher: at least -0.07", got, interval, -0.07, 1),
        claim(
            "colour right at 4 steps: at least 0.95",
            share,
            wilson(int(colours.sum()), len(colours)),
            0.95,
            1,
        ),
    ]


def path_in_repository(path: Path) -> str:
    """A path seen from the root of the repository; of a path elsewhere its last part only."""
    whole = path.resolve()
    return whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else path.name


def command_line(command: str, **options: Path | str | float | None) -> str:
    """The command as it would be typed in the repository; files elsewhere by name only, None left out."""
    words = [f"python -m training.small_world {command}"]
    for name, value in options.items():
        if value is not None:
            value = path_in_repository(value) if isinstance(value, Path) else f"{value}"
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


def about(command: str) -> dict[str, Any]:
    """How a result was made: command, date and machine."""
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
