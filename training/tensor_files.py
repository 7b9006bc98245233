"""Writes .safetensors files atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from animatelcm_core.atomic import beside


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write contiguous `tensors`; an existing file is replaced once the new one is complete."""
    with beside(path) as part:
        save_file(dict(tensors), part, metadata=dict(metadata) if metadata is not None else None)
    return path
