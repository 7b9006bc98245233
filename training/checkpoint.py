"""Writes and reads a run's checkpoints: folders `step_00000123`, each complete or not there.

    online.safetensors   trainable parameters, float32
    average.safetensors  their moving average, where the run keeps one
    extra.safetensors    what the stage adds: the target's weights, rho
    optimizer.pt         optimizer state (read back with weights_only)
    state.json           step, position in the data, fingerprint of the config, counted TFLOP

A checkpoint is written beside its place and renamed into it: a kill or a full disk never costs the last one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .config import ConfigError


@dataclass
class State:
    """A run at one step. counters: the engine's numbers (position, tflop, skipped updates)."""

    step: int
    online: dict[str, Tensor]
    average: dict[str, Tensor]
    extra: dict[str, Tensor]
    optimizer: dict[str, Any]
    fingerprint: str
    counters: dict[str, float] = field(default_factory=dict)


def folder_of(out: Path, step: int) -> Path:
    """The checkpoint folder of a step."""
    return out / "checkpoints" / f"step_{step:08d}"


def list_checkpoints(out: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(
        p for p in (out / "checkpoints").glob("step_*") if p.suffix == "" and (p / "state.json").is_file()
    )


def save(out: Path, state: State, keep: int) -> Path:
    """Write `state`, then keep only the newest `keep`. Raises OSError; older checkpoints are untouched."""
    final = folder_of(out, state.step)
    aside = final.with_suffix(".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for name in ("online", "average", "extra"):
            tensors: Mapping[str, Tensor] = getattr(state, name)
            if tensors:
                save_file(
                    {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
                    aside / f"{name}.safetensors",
                )
        torch.save(state.optimizer, aside / "optimizer.pt")
        about = {"step": state.step, "fingerprint": state.fingerprint, "counters": state.counters}
        (aside / "state.json").write_text(json.dumps(about, indent=1) + "\n", encoding="ascii")
        _sync(aside)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise OSError(
            f"got {error} while writing {final}; expected room and permission. Older checkpoints are whole: "
            "free some space and start the same command again."
        ) from error
    for old in list_checkpoints(out)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _sync(folder: Path) -> None:
    """Flush to disk before the rename: after a power cut the new name must not point to empty files."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def load(folder: Path) -> State:
    """Read a checkpoint. Raises ConfigError naming the file that is missing or broken."""
    try:
        about = json.loads((folder / "state.json").read_text(encoding="ascii"))
        parts = {
            name: load_file(path) if (path := folder / f"{name}.safetensors").exists() else {}
            for name in ("online", "average", "extra")
        }
        optimizer = torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
    except Exception as error:  # every reader raises its own
        raise ConfigError(
            f"got an unreadable checkpoint {folder} ({error}); expected a whole one. Remove that folder: the "
            "run resumes from the one before it."
        ) from error
    return State(
        about["step"],
        **parts,
        optimizer=optimizer,
        fingerprint=about["fingerprint"],
        counters=about["counters"],
    )
