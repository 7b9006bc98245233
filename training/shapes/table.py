"""Table 1 of the paper on the small world: docs/results/shapes/table1.json, .png and a contact sheet.

    python -m training.shapes.table --lora L.safetensors --motion M.safetensors \\
        --personal P.safetensors --out runs/table

Rows: animatelcm and animatelcm_personal (no guidance; LoRA and motion weights, the second on the personal
checkpoint), ddim and dpm++ (the teacher at guidance 7.5 and at their own best, found on other seeds, leading
and trailing timesteps), teacher (ddim, 25 steps), vae (real clips through the VAE). Every cell has the same
captions and noise. A run that is cut goes on where it was; `--backwards` in a second process shares the work.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..eval.intervals import bootstrap, centred_interval
from ..eval.metrics import real_versus_real
from ..samplers import Spacing
from . import judge, networks, pictures, style, world
from .arms import Files, Sampler, Setting, build
from .cells import Cell, fill, kept, load_cell
from .export import restore_checkpoint
from .gates import decode
from .measure import Measured, Space, real_clips
from .results import Result, about, frechet_claims, result, rounded, row, shown, teacher_claims

ROOT = Path(__file__).resolve().parents[2]
STEPS = (1, 2, 4, 8)
PAPER_GUIDANCE = 7.5
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0)  # tried for the best
SPACINGS: tuple[Spacing, ...] = ("leading", "trailing")
SOLVERS: tuple[Sampler, ...] = ("ddim", "dpm++")
SEED, SEARCH_SEED, REAL_SEED, FLOOR_SEED = 31, 41, 51, 61
REAL = 900  # real clips of the reference: ten a caption
FIXED = ("animatelcm", "animatelcm_personal", "teacher")


def fixed_cells(clips: int, personal: bool, teacher_guidance: float) -> list[Cell]:
    """All cells whose guidance needs no search."""
    students = ("animatelcm", "animatelcm_personal")[: 1 + personal]
    cells = [Cell(name, name, Setting("lcm", steps), clips, SEED) for name in students for steps in STEPS]
    cells += [
        replace(c, setting=replace(c.setting, guidance=PAPER_GUIDANCE), why="paper") for c in grid(clips)
    ]
    teacher = Setting("ddim", 25, teacher_guidance, "trailing")
    return [*cells, Cell("teacher", "teacher", teacher, clips, SEED)]


def grid(clips: int) -> list[Cell]:
    """One cell of the teacher for each solver, spacing and number of steps, at guidance 1."""
    return [
        Cell(solver, "teacher", Setting(solver, steps, 1.0, spacing), clips, SEED)
        for solver in SOLVERS
        for spacing in SPACINGS
        for steps in STEPS
    ]


def search_cells(clips: int) -> list[Cell]:
    """Every setting of `grid` at every guidance tried, on seeds of their own."""
    return [
        replace(c, setting=replace(c.setting, guidance=g), seed=SEARCH_SEED, why="search")
        for c in grid(clips)
        for g in GUIDANCES
    ]


def best_cells(searched: list[Result], clips: int) -> list[Cell]:
    """The setting with the least Frechet distance for each solver, spacing and number of steps."""
    best: dict[tuple[str, str, int], Result] = {}
    for r in searched:
        s = r.cell.setting
        key = (s.sampler, s.spacing, s.steps)
        if key not in best or r.frechet < best[key].frechet:
            best[key] = r
    return [replace(r.cell, clips=clips, seed=SEED, why="best") for r in best.values()]


def through_vae(checkpoint: Path, clips: int, net: judge.BodyNet) -> Measured:
    """Real clips encoded and decoded: what no model on these latents can be better than."""
    _, vae = restore_checkpoint(checkpoint)

    @torch.inference_mode()
    def draw(what: world.Clips) -> Tensor:
        pixels = world.draw(what)
        flat = (pixels.flatten(0, 1) * 2 - 1).split(64)
        latents = torch.cat([networks.encode(vae, part) for part in flat]) * networks.LATENT_SCALE
        return decode(vae, latents.unflatten(0, pixels.shape[:2]))

    return real_clips(clips, FLOOR_SEED, net, draw)


def measure_all(options: argparse.Namespace, net: judge.BodyNet) -> tuple[list[Result], list[Result], Space]:
    """Fill every cell; results of the table, of the search, and the space they are measured in."""
    out: Path = options.out
    teacher, student = options.teacher, Files(options.checkpoint, options.motion, options.lora)
    files = {"teacher": Files(options.checkpoint, teacher), "animatelcm": student}
    if options.personal:
        files["animatelcm_personal"] = replace(student, checkpoint=options.personal)
    guard(out, {name: f.digest() for name, f in files.items()})
    arms = {name: build(name, f) for name, f in files.items()}
    space = Space(kept(out / "real.safetensors", lambda: real_clips(REAL, REAL_SEED, net)).features)
    cells = fixed_cells(options.clips, options.personal is not None, options.teacher_guidance)
    tried = search_cells(options.search_clips)
    fill(out, cells + tried, arms, net, options.backwards)
    searched = [result(cell, load_cell(out, cell), space, draws=2) for cell in tried]
    best = best_cells(searched, options.clips)
    fill(out, best, arms, net, options.backwards)
    return [result(cell, load_cell(out, cell), space) for cell in cells + best], searched, space


def guard(out: Path, digests: dict[str, str]) -> None:
    """Raises ValueError if `out` holds clips of other files than these."""
    path = out / "files.json"
    out.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
    changed = [name for name, digest in digests.items() if known.get(name, digest) != digest]
    if changed:
        raise ValueError(
            f"got other files for {changed[0]} than the clips in {out.name} were made with. "
            "Use a new folder for --out."
        )
    path.write_text(json.dumps({**known, **digests}, indent=1) + "\n", encoding="ascii")


def floors(options: argparse.Namespace, space: Space, net: judge.BodyNet) -> dict[str, Any]:
    """Real clips against real clips, plain and through the VAE, as many as a cell has."""
    out, clips = options.out, options.clips
    makers = {
        "real_versus_real": lambda: real_clips(clips, FLOOR_SEED, net),
        "real_through_vae": lambda: through_vae(options.checkpoint, clips, net),
        "styled_versus_real": lambda: real_clips(clips, FLOOR_SEED, net, style.draw),
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
        "captions": len(world.all_captions()),
        "real_clips": REAL,
        "floors": floors(options, space, net),
        "rows": [row(r) for r in results],
        "claims": [*teacher_claims(results), *frechet_claims(results)],
        "search": [
            {"method": r.cell.method, **vars(r.cell.setting), "frechet": round(r.frechet, 3)}
            for r in searched
        ],
    }


def command(options: argparse.Namespace) -> str:
    """The command as it would be typed in the repository; files elsewhere by name only."""
    words = ["python -m training.shapes.table"]
    for name in ("checkpoint", "teacher", "lora", "motion", "personal", "out", "clips", "search_clips"):
        value = getattr(options, name)
        if value is not None:
            value = shown(value) if isinstance(value, Path) else value
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join([*words, f"--teacher-guidance {options.teacher_guidance:g}"])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m training.shapes.table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--checkpoint", type=Path, default=ROOT / "demo" / "shapes_sd.safetensors")
    p.add_argument("--teacher", type=Path, default=ROOT / "demo" / "shapes_motion.safetensors")
    p.add_argument("--lora", type=Path, required=True, help="LCM LoRA in kohya's names")
    p.add_argument("--motion", type=Path, required=True, help="distilled motion weights")
    p.add_argument("--personal", type=Path, help="checkpoint in another style, from training.shapes.style")
    p.add_argument("--judge", type=Path, default=Path(__file__).with_name("judge.safetensors"))
    p.add_argument("--out", type=Path, default=Path("runs/table"))
    p.add_argument("--to", type=Path, default=ROOT / "docs" / "results" / "shapes")
    p.add_argument("--clips", type=int, default=200)
    p.add_argument("--search-clips", type=int, default=60)
    p.add_argument("--teacher-guidance", type=float, default=3.0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--backwards", action="store_true", help="fill cells from the end and write no table")
    return p


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    net = judge.load(options.judge)
    if options.backwards:
        measure_all(options, net)
        return
    table = report(options, net)
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "table1.json").write_text(json.dumps(table, indent=1) + "\n", encoding="ascii")
    pictures.plot_table(table, options.to / "table1.png")
    cells = fixed_cells(options.clips, options.personal is not None, options.teacher_guidance)
    pictures.sheet(options.out, cells, options.to / "table1_clips.png")
    for line in table["claims"]:
        print("reached" if line["reached"] else "NOT reached", line["claim"], line["got"], line["interval95"])


if __name__ == "__main__":
    main()
