"""Writes the log of a run: `metrics.jsonl`, tensorboard, a line of progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from animatelcm_core.atomic import write_text

from .data.regular import why_irregular

BUCKETS = 5


def trim(path: Path, step: int) -> None:
    """Remove the rows after `step`, which a resumed run repeats, and what is no row."""
    if not path.exists():
        return
    trouble = why_irregular(path)
    if trouble:
        raise OSError(f"got the log {path}: {trouble}; expected a file")
    rows: dict[int, str] = {}  # of a step that is there twice, the later one
    for line in path.read_bytes().splitlines():
        try:
            text = line.decode("ascii")
            row = json.loads(text)
        except (ValueError, RecursionError):
            continue  # the last line of a run that was killed while writing it, or damage
        if isinstance(row, dict) and isinstance(row.get("step"), int) and row["step"] <= step:
            rows[row["step"]] = text
    write_text(path, "".join(line + "\n" for line in rows.values()))


class LogWindow:
    """Collects what micro-batches measure between two rows of the log."""

    def __init__(self, solver_steps: int):
        self.solver_steps = solver_steps
        self.loss: list[Tensor] = []
        self.distance: list[Tensor] = []
        self.n: list[Tensor] = []
        self.norm = 0.0  # of the last update

    def add(self, terms: dict[str, Tensor]) -> None:
        self.loss.append(terms["loss"])
        self.distance.append(terms["distance"])
        self.n.append(terms["n"])

    def row(self, gather: Callable[[Tensor], Any]) -> dict[str, float]:
        """Mean loss, and the unweighted distance in five parts of the solver's steps (0: least noise).

        gather: puts the values of all processes together; every process calls `row` then.
        """
        distance, n = gather(torch.cat(self.distance)).cpu(), gather(torch.cat(self.n)).cpu()
        out = {"loss": float(gather(torch.stack(self.loss)).mean())}
        part = n * BUCKETS // self.solver_steps
        for i in range(BUCKETS):
            if bool((part == i).any()):
                out[f"distance_{i}"] = float(distance[part == i].mean())
        return out


class Log:
    """Writes rows; only the main process makes one."""

    def __init__(self, out: Path, start: int, total: int):
        from torch.utils.tensorboard import SummaryWriter

        trim(out / "metrics.jsonl", start)
        self.file = (out / "metrics.jsonl").open("a", encoding="ascii")
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)
        self.bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True)
        self.start, self.total, self.began = start, total, time.monotonic()

    def advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def write(self, step: int, row: dict[str, float]) -> None:
        self.file.write(json.dumps({"step": step, **{k: _short(v) for k, v in row.items()}}) + "\n")
        self.file.flush()
        for key, value in row.items():
            self.board.add_scalar(key, value, step)
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {row['loss']:.4f}")
            return
        each = (time.monotonic() - self.began) / max(1, step - self.start)
        left = each * (self.total - step) / 60
        print(f"{step}/{self.total} loss {row['loss']:.4f} {each:.2f} s/step {left:.0f} min left", flush=True)

    def close(self) -> None:
        self.file.close()
        self.board.close()
        if self.bar is not None:
            self.bar.close()


def _short(value: float) -> float:
    return float(f"{value:.6g}")
