"""Table 1 of the paper on the small world: docs/results/shapes/table1.json, .webp and a contact sheet.

    python -m training.small_world table1 --lora L.safetensors --motion M.safetensors \\
        --personal P.safetensors --out runs/table

Rows: animatelcm and animatelcm_personal (no guidance; LoRA and motion weights, the second on the personal
checkpoint), ddim and dpm++ (the teacher at guidance 7.5 and at their own best, found on other seeds, leading
and trailing timesteps), teacher (ddim, 25 steps), vae (real clips through the VAE). Every cell has the same
captions and noise. A run that is cut resumes; `--backwards` in a second process shares the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from animatelcm_core.atomic import write_text

from ...eval.intervals import bootstrap, centred_interval
from ...eval.metrics import real_versus_real
from ...pipeline import Pipeline
from ..measure import pictures
from ..measure.cells import fill, load_cell, load_or_make
from ..measure.metrics import Measurements, Space, real_clips
from ..measure.pipelines import ModelFiles, load_pipeline
from ..measure.results import (
    DRAWS,
    Result,
    about,
    command_line,
    frechet_claims,
    result,
    rounded,
    row,
    teacher_claims,
)
from ..paths import DEMO, JUDGE, RESULTS
from ..teacher.export import restore_checkpoint
from ..teacher.networks import reconstruct_clips
from ..world import ink_style, judge
from ..world.clips import all_labels, draw
from .table1_plan import FLOOR_SEED, REAL_SEED, TablePlan


def plan_of(options: argparse.Namespace) -> TablePlan:
    """The table that the options ask for."""
    plan = TablePlan(
        clips=options.clips,
        search_clips=options.search_clips,
        teacher_guidance=options.teacher_guidance,
        personal=options.personal is not None,
    )
    return plan.smallest() if options.smoke else plan


def through_vae(checkpoint: Path, clips: int, seed: int, net: judge.BodyNet) -> Measurements:
    """Measurements of real clips, encoded and decoded: no model on these latents can do better."""
    _, vae = restore_checkpoint(checkpoint)
    return real_clips(clips, seed, net, lambda drawn: reconstruct_clips(vae, draw(drawn)))


@dataclass(frozen=True)
class Sources:
    """Where a table's models and measured real clips come from; tests put in others."""

    load_pipeline: Callable[[ModelFiles], Pipeline] = load_pipeline
    real_clips: Callable[..., Measurements] = real_clips
    through_vae: Callable[[Path, int, int, judge.BodyNet], Measurements] = through_vae
    bootstrap_draws: int = DRAWS


@dataclass(frozen=True)
class MeasuredTable:
    """A table whose cells are all measured. space: the space of their Frechet distances."""

    results: list[Result]
    searched: list[Result]
    space: Space


def model_files(options: argparse.Namespace) -> dict[str, ModelFiles]:
    """Files of the table's models, by name."""
    student = ModelFiles(options.checkpoint, options.motion, options.lora)
    files = {"teacher": ModelFiles(options.checkpoint, options.teacher), "animatelcm": student}
    if options.personal:
        files["animatelcm_personal"] = replace(student, checkpoint=options.personal)
    return files


def fill_table(options: argparse.Namespace, net: judge.BodyNet, sources: Sources) -> MeasuredTable:
    """Measure every cell that is not measured yet: the fixed ones, the search, then the best it found."""
    out: Path = options.out
    files, plan = model_files(options), plan_of(options)
    judge_digest = hashlib.sha256(options.judge.read_bytes()).hexdigest()[:16]
    check_same_files(out, {"judge": judge_digest, **{name: f.digest() for name, f in files.items()}})
    models = {name: sources.load_pipeline(f) for name, f in files.items()}
    path = out / f"real_{plan.real}.safetensors"
    real = load_or_make(path, lambda: sources.real_clips(plan.real, REAL_SEED, net))
    space, fixed, search = Space(real.features), plan.fixed(), plan.search()
    fill(out, fixed + search, models, net, options.backwards)
    searched = [result(cell, load_cell(out, cell), space, draws=2) for cell in search]
    best = plan.best(searched)
    fill(out, best, models, net, options.backwards)
    cells = [(cell, load_cell(out, cell)) for cell in fixed + best]
    results = [result(cell, measured, space, sources.bootstrap_draws) for cell, measured in cells]
    return MeasuredTable(results, searched, space)


def check_same_files(out: Path, digests: dict[str, str]) -> None:
    """Raises ValueError if `out` holds clips of files other than these."""
    path = out / "files.json"
    out.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
    changed = [name for name, now in digests.items() if known.get(name, now) != now]
    if changed:
        raise ValueError(
            f"got other files for {changed[0]} than {out.name} was made with. Use a new folder for --out."
        )
    write_text(path, json.dumps({**known, **digests}, indent=1) + "\n")


def floors(options: argparse.Namespace, space: Space, net: judge.BodyNet, sources: Sources) -> dict[str, Any]:
    """Real clips against real clips, plain and through the VAE, as many as a cell has."""
    out, clips = options.out, plan_of(options).clips
    makers = {
        "real_versus_real": lambda: sources.real_clips(clips, FLOOR_SEED, net),
        "real_through_vae": lambda: sources.through_vae(options.checkpoint, clips, FLOOR_SEED, net),
        "styled_versus_real": lambda: sources.real_clips(clips, FLOOR_SEED, net, ink_style.draw),
    }
    numbers = {}
    for name, make in makers.items():
        placed = space.place(load_or_make(out / f"{name}_{clips}.safetensors", make).features)
        point = real_versus_real(space.reference, placed)
        draws = bootstrap(lambda i, p=placed: real_versus_real(space.reference, p[i]), clips)
        numbers[name] = {"frechet": round(point, 3), "interval95": rounded(centred_interval(draws, point), 3)}
    return numbers


def report(options: argparse.Namespace, net: judge.BodyNet, sources: Sources) -> dict[str, Any]:
    """Everything in table1.json."""
    table = fill_table(options, net, sources)
    return {
        **about(command(options)),
        "captions": len(all_labels()),
        "real_clips": plan_of(options).real,
        "floors": floors(options, table.space, net, sources),
        "rows": [row(r) for r in table.results],
        "claims": [*teacher_claims(table.results), *frechet_claims(table.results)],
        "search": [
            {"method": r.cell.method, **vars(r.cell.sampling), "frechet": round(r.frechet, 3)}
            for r in table.searched
        ],
    }


def command(options: argparse.Namespace) -> str:
    """The command as it would be typed in the repository."""
    names = ("checkpoint", "teacher", "lora", "motion", "personal", "out", "clips", "search_clips")
    line = command_line(
        "table1",
        **{name: getattr(options, name) for name in names},
        teacher_guidance=f"{options.teacher_guidance:g}",
    )
    return f"{line} --smoke" if options.smoke else line


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, default=DEMO / "shapes_sd.safetensors")
    parser.add_argument("--teacher", type=Path, default=DEMO / "shapes_motion.safetensors")
    parser.add_argument("--lora", type=Path, required=True, help="LCM LoRA in kohya's names")
    parser.add_argument("--motion", type=Path, required=True, help="distilled motion weights")
    parser.add_argument("--personal", type=Path, help="checkpoint in another style, from the command `style`")
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument("--out", type=Path, default=Path("runs/table"))
    parser.add_argument("--to", type=Path, default=RESULTS)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--search-clips", type=int, default=60)
    parser.add_argument("--teacher-guidance", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--smoke", action="store_true", help="make the smallest table, to see that everything works"
    )
    parser.add_argument(
        "--backwards",
        action="store_true",
        help="measure cells from the last to the first, and write no table",
    )


def main(options: argparse.Namespace, sources: Sources = Sources()) -> None:
    torch.set_num_threads(options.threads)
    net = judge.load(options.judge)
    if options.backwards:
        fill_table(options, net, sources)
        return
    table = report(options, net, sources)
    options.to.mkdir(parents=True, exist_ok=True)
    write_text(options.to / "table1.json", json.dumps(table, indent=1) + "\n")
    pictures.plot_table(table, options.to / "table1.webp")
    pictures.save_cells(options.out, plan_of(options).fixed(), options.to / "table1_clips.webp")
    for line in table["claims"]:
        print("reached" if line["reached"] else "NOT reached", line["claim"], line["got"], line["interval95"])
