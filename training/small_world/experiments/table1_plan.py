"""Which cells Table 1 has: methods, steps, guidances, and the search for each baseline's best guidance."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...pipeline import Sampler, Sampling
from ...samplers import Spacing
from ..measure.cells import Cell
from ..measure.results import Result

PAPER_GUIDANCE = 7.5
SOLVERS: tuple[Sampler, ...] = ("ddim", "dpm++")
SEED, SEARCH_SEED, REAL_SEED, FLOOR_SEED = 31, 41, 51, 61


@dataclass(frozen=True)
class TablePlan:
    """How large a table is. guidances: tried for the best; real: clips of the reference, ten a caption."""

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

    def smallest(self) -> TablePlan:
        """The smallest table that has every kind of cell."""
        few = dict(steps=(1, 4), spacings=("trailing",), guidances=(1.0, 3.0), teacher_steps=4, real=90)
        return replace(self, clips=10, search_clips=10, **few)  # type: ignore[arg-type]
