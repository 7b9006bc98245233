"""Measures the cells of a table: some hundred clips of a model at one setting, written ten at a time.

A cell is a folder with one file a batch, each written aside and renamed: a run that is cut loses at most the
batch it was in, and two processes may fill one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...pipeline import Pipeline, Sampling
from ...tensor_files import save_tensors
from ..world import judge
from ..world.clips import captions_of, labels_in_turn
from .metrics import Measurements, measure_clips
from .pipelines import sample

BATCH = 10
THUMBS = 5  # frames of each clip of the first batch that are saved to look at


@dataclass(frozen=True)
class Cell:
    """method: name of the row in the table; model: its name; clips a cell; seed of its noise.

    why: what the guidance was chosen for: `paper`, `best`, `search`, or nothing to choose.
    """

    method: str
    model: str
    sampling: Sampling
    clips: int
    seed: int
    why: str = ""

    def __post_init__(self) -> None:
        if self.clips % BATCH or self.clips < BATCH:
            raise ValueError(f"got {self.clips} clips a cell; expected a multiple of {BATCH}")

    @property
    def key(self) -> str:
        s = self.sampling
        return f"{self.method}_{s.steps}_{s.guidance:g}_{s.spacing}_seed{self.seed}"


def batch_path(folder: Path, cell: Cell, start: int) -> Path:
    return folder / cell.key / f"{start:05d}.safetensors"


def fill(
    folder: Path,
    cells: list[Cell],
    models: Mapping[str, Pipeline],
    net: judge.BodyNet,
    backwards: bool = False,
) -> None:
    """Sample and measure every batch of `cells` that is not in `folder` yet.

    backwards: from the last batch to the first. A second process that does so meets the first in the middle.
    """
    work = [(cell, start) for cell in cells for start in range(0, cell.clips, BATCH)]
    for done, (cell, start) in enumerate(reversed(work) if backwards else work):
        path = batch_path(folder, cell, start)
        if path.exists():
            continue
        part = labels_in_turn(cell.clips)[start : start + BATCH]
        clips = sample(models[cell.model], cell.sampling, captions_of(part), cell.seed, start)
        save_batch(path, clips, measure_clips(clips, part, net), start == 0)
        print(f"{done + 1}/{len(work)} {cell.key} {start + len(part)}/{cell.clips}", flush=True)


def save_batch(path: Path, clips: Tensor, measured: Measurements, thumbs: bool) -> None:
    """Write the measurements of one batch; of the first also some frames (n, THUMBS, 3, 64, 64) uint8."""
    tensors = {
        "right": measured.right.contiguous(),
        "agreement": measured.agreement.contiguous(),
        "features": measured.features.contiguous(),
    }
    if thumbs:
        frames = torch.linspace(0, clips.shape[1] - 1, THUMBS).long()
        tensors["thumbs"] = (clips[:, frames] * 255).round().to(torch.uint8).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors)


def load_cell(folder: Path, cell: Cell) -> Measurements:
    """All batches of a complete cell. Raises FileNotFoundError for one that is not."""
    parts = [load_file(batch_path(folder, cell, start)) for start in range(0, cell.clips, BATCH)]
    return Measurements.join([Measurements(p["right"], p["agreement"], p["features"]) for p in parts])


def thumbs(folder: Path, cell: Cell) -> Tensor:
    """(n, THUMBS, 3, 64, 64) uint8 of the cell's first batch."""
    return load_file(batch_path(folder, cell, 0))["thumbs"]


def load_or_make(path: Path, make: Callable[[], Measurements]) -> Measurements:
    """The measurements that `make` returns, made once and then read from `path`."""
    if not path.exists():
        save_batch(path, torch.empty(0), make(), thumbs=False)
    data = load_file(path)
    return Measurements(data["right"], data["agreement"], data["features"])
