"""Table 1 of the paper on the small world: docs/results/shapes/table1.json, .webp and a contact sheet.

    python -m training.small_world table1 --lora L.safetensors --motion M.safetensors \\
        --personal P.safetensors --out runs/table

Rows: animatelcm and animatelcm_personal (no guidance; LoRA and motion weights, the second on the personal
checkpoint), ddim and dpm++ (the teacher at guidance 7.5 and at their own best, found on other seeds, leading
and trailing timesteps), teacher (ddim, 25 steps), vae (real clips through the VAE). Every cell has the same
captions and noise. A run that is cut goes on where it was; `--backwards` in a second process shares the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animatelcm_core.atomic import write_text

from ...eval.intervals import bootstrap, centred_interval
from ...eval.metrics import real_versus_real
from ...pipeline import Sampler, Sampling
from ...samplers import Spacing
from ..measure import pictures
from ..measure.cells import Cell, fill, kept, load_cell
from ..measure.metrics import Measured, Space, real_clips
from ..measure.pipelines import Files, build
from ..measure.results import Result, about, frechet_claims, result, rounded, row, shown, teacher_claims
from ..paths import DEMO, JUDGE, RESULTS
from ..teacher.export import restore_checkpoint
from ..teacher.networks import reconstruct_clips
from ..world import ink_style, judge
from ..world.clips import Clips, all_labels

PAPER_GUIDANCE = 7.5
SOLVERS: tuple[Sampler, ...] = ("ddim", "dpm++")
SEED, SEARCH_SEED, REAL_SEED, FLOOR_SEED = 31, 41, 51, 61


@dataclass(frozen=True)
class Plan:
    """Which cells a table has. guidances: tried for the best; real: clips of the reference, ten a caption."""

    steps: tuple[int, ...] = (1, 2, 4, 8)
    spacings: tuple[Spacing, ...] = ("leading", "trailing")
    guidances: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0)
    teacher_steps: int = 25
    teacher_guidance: float = 3.0
    clips: int = 200
    search_clips: int = 60
    real: int = 900
    personal: bool = True

    def fixed(self) -> list[Cell]:
        """All cells whose guidance needs no search."""
        students = ("animatelcm", "animatelcm_personal")[: 1 + self.personal]
        cells = [self._cell(name, name, Sampling("lcm", steps)) for name in students for steps in self.steps]
        cells += [
            replace(c, sampling=replace(c.sampling, guidance=PAPER_GUIDANCE), why="paper")
            for c in self.grid()
        ]
        teacher = Sampling("ddim", self.teacher_steps, self.teacher_guidance, "trailing")
        return [*cells, self._cell("teacher", "teacher", teacher)]

    def grid(self) -> list[Cell]:
        """One cell of the teacher for each solver, spacing and number of steps, at guidance 1."""
        return [
            self._cell(solver, "teacher", Sampling(solver, steps, 1.0, spacing))
            for solver in SOLVERS
            for spacing in self.spacings
            for steps in self.steps
        ]

    def search(self) -> list[Cell]:
        """Every setting of `grid` at every guidance tried, on seeds of their own."""
        own = dict(clips=self.search_clips, seed=SEARCH_SEED, why="search")
        return [
            replace(c, sampling=replace(c.sampling, guidance=g), **own)
            for c in self.grid()
            for g in self.guidances
        ]

    def best(self, searched: list[Result]) -> list[Cell]:
        """The setting with the least Frechet distance for each solver, spacing and number of steps."""
        best: dict[tuple[str, str, int], Result] = {}
        for r in searched:
            s = r.cell.sampling
            key = (s.sampler, s.spacing, s.steps)
            if key not in best or r.frechet < best[key].frechet:
                best[key] = r
        return [replace(r.cell, clips=self.clips, seed=SEED, why="best") for r in best.values()]

    def _cell(self, method: str, model: str, sampling: Sampling) -> Cell:
        return Cell(method, model, sampling, self.clips, SEED)


def plan_of(options: argparse.Namespace) -> Plan:
    """The whole table, or the smallest one that has every kind of cell."""
    plan = Plan(
        clips=options.clips,
        search_clips=options.search_clips,
        teacher_guidance=options.teacher_guidance,
        personal=options.personal is not None,
    )
    if not options.smoke:
        return plan
    few = dict(steps=(1, 4), spacings=("trailing",), guidances=(1.0, 3.0), teacher_steps=4, real=90)
    return replace(plan, clips=10, search_clips=10, **few)  # type: ignore[arg-type]


def through_vae(checkpoint: Path, clips: int, net: judge.BodyNet) -> Measured:
    """Real clips encoded and decoded: what no model on these latents can be better than."""
    _, vae = restore_checkpoint(checkpoint)

    @torch.inference_mode()
    def draw(what: Clips) -> Tensor:
        return reconstruct_clips(vae, draw(what))

    return real_clips(clips, FLOOR_SEED, net, draw)


def measure_all(options: argparse.Namespace, net: judge.BodyNet) -> tuple[list[Result], list[Result], Space]:
    """Fill every cell; results of the table, of the search, and the space they are measured in."""
    out: Path = options.out
    teacher, student = options.teacher, Files(options.checkpoint, options.motion, options.lora)
    files = {"teacher": Files(options.checkpoint, teacher), "animatelcm": student}
    if options.personal:
        files["animatelcm_personal"] = replace(student, checkpoint=options.personal)
    judged = hashlib.sha256(options.judge.read_bytes()).hexdigest()[:16]
    guard(out, {"judge": judged, **{name: f.digest() for name, f in files.items()}})
    models = {name: build(f) for name, f in files.items()}
    plan = plan_of(options)
    real = kept(out / f"real_{plan.real}.safetensors", lambda: real_clips(plan.real, REAL_SEED, net))
    space, cells, tried = Space(real.features), plan.fixed(), plan.search()
    fill(out, cells + tried, models, net, options.backwards)
    searched = [result(cell, load_cell(out, cell), space, draws=2) for cell in tried]
    best = plan.best(searched)
    fill(out, best, models, net, options.backwards)
    return [result(cell, load_cell(out, cell), space) for cell in cells + best], searched, space


def guard(out: Path, digests: dict[str, str]) -> None:
    """Raises ValueError if `out` holds clips of other files than these."""
    path = out / "files.json"
    out.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
    changed = [name for name, now in digests.items() if known.get(name, now) != now]
    if changed:
        raise ValueError(
            f"got other files for {changed[0]} than {out.name} was made with. Use a new folder for --out."
        )
    write_text(path, json.dumps({**known, **digests}, indent=1) + "\n")


def floors(options: argparse.Namespace, space: Space, net: judge.BodyNet) -> dict[str, Any]:
    """Real clips against real clips, plain and through the VAE, as many as a cell has."""
    out, clips = options.out, plan_of(options).clips
    makers = {
        "real_versus_real": lambda: real_clips(clips, FLOOR_SEED, net),
        "real_through_vae": lambda: through_vae(options.checkpoint, clips, net),
        "styled_versus_real": lambda: real_clips(clips, FLOOR_SEED, net, ink_style.draw),
    }
    numbers = {}
    for name, make in makers.items():
        placed = space.place(kept(out / f"{name}_{clips}.safetensors", make).features)
        point = real_versus_real(space.reference, placed)
        draws = bootstrap(lambda i, p=placed: real_versus_real(space.reference, p[i]), clips)
        numbers[name] = {"frechet": round(point, 3), "interval95": rounded(centred_interval(draws, point), 3)}
    return numbers


def report(options: argparse.Namespace, net: judge.BodyNet) -> dict[str, Any]:
    """All of table1.json."""
    results, searched, space = measure_all(options, net)
    return {
        **about(command(options)),
        "captions": len(all_labels()),
        "real_clips": plan_of(options).real,
        "floors": floors(options, space, net),
        "rows": [row(r) for r in results],
        "claims": [*teacher_claims(results), *frechet_claims(results)],
        "search": [
            {"method": r.cell.method, **vars(r.cell.sampling), "frechet": round(r.frechet, 3)}
            for r in searched
        ],
    }


def command(options: argparse.Namespace) -> str:
    """The command as it would be typed in the repository; files elsewhere by name only."""
    words = ["python -m training.small_world table1"]
    for name in ("checkpoint", "teacher", "lora", "motion", "personal", "out", "clips", "search_clips"):
        value = getattr(options, name)
        if value is not None:
            value = shown(value) if isinstance(value, Path) else value
            words.append(f"--{name.replace('_', '-')} {value}")
    words.append(f"--teacher-guidance {options.teacher_guidance:g}")
    return " ".join(words + ["--smoke"] * options.smoke)


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
        "--smoke", action="store_true", help="the smallest table, to see that all of it works"
    )
    parser.add_argument("--backwards", action="store_true", help="fill cells from the end and write no table")


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    net = judge.load(options.judge)
    if options.backwards:
        measure_all(options, net)
        return
    table = report(options, net)
    options.to.mkdir(parents=True, exist_ok=True)
    write_text(options.to / "table1.json", json.dumps(table, indent=1) + "\n")
    pictures.plot_table(table, options.to / "table1.webp")
    pictures.save_cells(options.out, plan_of(options).fixed(), options.to / "table1_clips.webp")
    for line in table["claims"]:
        print("reached" if line["reached"] else "NOT reached", line["claim"], line["got"], line["interval95"])
