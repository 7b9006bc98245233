"""Writes and reads a run's checkpoints: folders `step_00000123`, each complete or not there.

    online.safetensors   trainable parameters, float32
    average.safetensors  their moving average, where the run keeps one
    extra.safetensors    what the stage adds: the target's weights, rho
    optimizer.pt         optimizer state (read back with weights_only)
    state.json           step, position in the data, fingerprint of the config, counted TFLOP; size and
                         SHA-256 of the others

A checkpoint is written beside its place and renamed into it: a kill or a full disk never costs the last one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .checkpoint_about import (
    NAME,
    OPTIMIZER,
    TENSORS,
    About,
    CheckpointError,
    check_files,
    read_about,
    sealed,
)
from .config_file import ConfigError


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


Fit = Callable[[State], State]
"""What a run can load of a state. Raises CheckpointError for one that it cannot use."""


def folder_of(out: Path, step: int) -> Path:
    """The checkpoint folder of a step."""
    return out / "checkpoints" / f"step_{step:08d}"


def list_checkpoints(out: Path) -> list[Path]:
    """Checkpoints whose files are there in their sizes, oldest first. What is in them is not read."""
    return [folder for folder in _folders(out) if _looks_whole(folder)]


def newest(out: Path, fit: Fit | None = None) -> tuple[Path, State] | None:
    """The newest whole checkpoint of `out`, None where there is none at all. What is passed over is logged.

    fit: the state that is returned is what it makes of the one that was read. Raises ConfigError where none
    is whole and fits.
    """
    passed: list[tuple[Path, CheckpointError]] = []
    for folder in reversed(_folders(out)):
        try:
            state = _load(folder)
            if fit is not None:
                state = fit(state)
        except CheckpointError as error:
            passed.append((folder, error))
            continue
        for worse, error in passed:
            logging.getLogger(__name__).warning("passed over %s (%s); taken: %s", worse, error, folder.name)
        return folder, state
    if passed:
        others = "".join(f"; {folder.name} ({error})" for folder, error in passed[1:6])
        raise ConfigError(_unreadable(*passed[0], f"none of this run is{others}"))
    return None


def save(out: Path, state: State, keep: int) -> Path:
    """Write `state`, then keep only the newest `keep`. Raises OSError; older checkpoints are untouched."""
    final = folder_of(out, state.step)
    aside = final.with_suffix(".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for name in TENSORS:
            tensors: Mapping[str, Tensor] = getattr(state, name)
            if tensors:
                save_file(
                    {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
                    aside / f"{name}.safetensors",
                )
        torch.save(state.optimizer, aside / OPTIMIZER)
        seals = {path.name: sealed(path) for path in sorted(aside.iterdir())}
        about = About(state.step, state.fingerprint, state.counters, seals)
        (aside / NAME).write_text(about.as_json(), encoding="ascii")
        _sync(aside)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise OSError(
            f"got {error} while writing {final}; expected room and permission. Older checkpoints are whole: "
            "free some space and start the same command again."
        ) from error
    # Those after this one were passed over when the run resumed: they do not push out what is good.
    for old in [folder for folder in list_checkpoints(out) if folder.name <= final.name][:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(folder: Path) -> State:
    """Read a checkpoint. Raises ConfigError naming the file that is missing or broken."""
    try:
        return _load(folder)
    except CheckpointError as error:
        raise ConfigError(_unreadable(folder, error, "it is not")) from None


def _load(folder: Path) -> State:
    about = read_about(folder)
    check_files(folder, about)
    parts = {}
    for name in TENSORS:
        path = folder / f"{name}.safetensors"
        try:
            parts[name] = load_file(path) if path.exists() else {}
        except Exception as error:  # every reader raises its own
            raise CheckpointError(f"{path.name}: {_first_line(error)}") from error
    try:
        optimizer = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
    except Exception as error:  # unpickling: anything
        raise CheckpointError(f"{OPTIMIZER}: {_first_line(error)}") from error
    return State(
        about.step, **parts, optimizer=optimizer, fingerprint=about.fingerprint, counters=about.counters
    )


def _folders(out: Path) -> list[Path]:
    """Folders that are or were checkpoints, oldest first; those in the making have a suffix."""
    return sorted(p for p in (out / "checkpoints").glob("step_*") if p.suffix == "" and p.is_dir())


def _looks_whole(folder: Path) -> bool:
    try:
        check_files(folder, read_about(folder), contents=False)
    except CheckpointError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Flush to disk before the rename: after a power cut the new name must not point to empty files."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _first_line(error: Exception) -> str:
    """A library's words, short, on one line, without its advice on how to load what it refused."""
    words = (str(error).splitlines() or [""])[0].partition(" (1)")[0]
    return ascii(f"{type(error).__name__} {words}")[1:-1][:200]


def _unreadable(folder: Path, error: CheckpointError, which: str) -> str:
    return (
        f"got an unreadable checkpoint {folder} ({error}); expected a whole one, and {which}. Remove that "
        "folder: the run resumes from the one before it, or starts anew where there is none."
    )
