"""Rows of numbers, one per clip, cached on disk in parts: an interruption loses one part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..tensor_files import save_tensors

PART = 32


def cached_rows(folder: Path, clips: int, compute: Callable[[int], Tensor], part: int = PART) -> Tensor:
    """(clips, d) float32: `compute(number)`, (d,), of every clip, from `folder` where it is there."""
    parts = []
    for start in range(0, clips, part):
        stop = min(clips, start + part)
        path = folder / f"{start:06d}_{stop:06d}.safetensors"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = torch.stack([compute(number).float().cpu() for number in range(start, stop)])
            save_tensors(path, {"rows": rows.contiguous()})
        parts.append(load_file(path)["rows"])
    return torch.cat(parts)


def digest(paths: Sequence[Path]) -> str:
    """12 hex digits of the contents of files: which weights something was made or measured with."""
    out = hashlib.sha256()
    for path in paths:
        with path.open("rb") as opened:
            while block := opened.read(1 << 22):
                out.update(block)
    return out.hexdigest()[:12]
