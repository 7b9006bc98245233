"""state.json of a checkpoint: what a run counted, and size and SHA-256 of every other file of the folder."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config_file import ConfigError
from .data.regular import why_irregular

NAME = "state.json"
TENSORS = ("online", "average", "extra")
OPTIMIZER = "optimizer.pt"
FILES = (*(f"{name}.safetensors" for name in TENSORS), OPTIMIZER)
NEEDED = ("online.safetensors", OPTIMIZER)
MOST_STEPS, MOST_BYTES = 10**12, 2**20  # of a run; of state.json
MOST = 2**53  # whole numbers up to here are exact in JSON everywhere


class CheckpointError(ConfigError):
    """A checkpoint that is not whole, or does not fit the run: the file and what is wrong with it."""


@dataclass(frozen=True)
class Seal:
    """What a file was when it was written."""

    size: int
    sha256: str


@dataclass
class About:
    """files: empty for a checkpoint of an earlier release, which has no seals."""

    step: int
    fingerprint: str
    counters: dict[str, float]
    files: dict[str, Seal] = field(default_factory=dict)

    def as_json(self) -> str:
        files = {name: {"size": seal.size, "sha256": seal.sha256} for name, seal in self.files.items()}
        values = {"step": self.step, "fingerprint": self.fingerprint, "counters": self.counters}
        return json.dumps({**values, "files": files}, indent=1) + "\n"


def sealed(path: Path) -> Seal:
    """The seal of a file as it is. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(2**22):
            digest.update(part)
            size += len(part)
    return Seal(size, digest.hexdigest())


def read_about(folder: Path) -> About:
    """state.json of `folder`, with every number in range. Raises CheckpointError."""
    path = folder / NAME
    try:
        values = json.loads(_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{NAME}: {_brief(error)}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{NAME}: got {type(values).__name__}, expected keys and values")
    step = whole(values.get("step"), "step", MOST_STEPS)
    named = re.fullmatch(r"step_(\d+)", folder.name)
    if named and int(named[1]) != step:
        raise CheckpointError(f"{NAME}: got step {step} in a folder of the name {folder.name}")
    fingerprint, counters = values.get("fingerprint"), values.get("counters")
    if not isinstance(fingerprint, str) or not isinstance(counters, dict):
        raise CheckpointError(f"{NAME}: got no fingerprint or no counters")
    return About(step, fingerprint, _counters(counters, step), _files(values.get("files")))


def check_files(folder: Path, about: About, contents: bool = True) -> None:
    """Compare the files of `folder` with `about`. contents: their digests too, which reads them.

    Raises CheckpointError naming the first that is missing, cut off or changed.
    """
    for name in FILES:
        path, seal = folder / name, about.files.get(name)
        if seal is None and (about.files or name not in NEEDED) and not path.exists():
            continue
        trouble = why_irregular(path)
        if trouble:
            raise CheckpointError(f"{name}: {trouble}")
        if seal is None and about.files:
            raise CheckpointError(f"{name}: it is not one of the files that were written here")
        if seal is None:
            continue
        size = path.stat().st_size
        if size != seal.size:
            raise CheckpointError(f"{name}: got {size} bytes, expected {seal.size}")
        if contents and sealed(path) != seal:
            raise CheckpointError(f"{name}: its contents are not those that were written (SHA-256)")


def whole(value: Any, name: str, most: int = MOST) -> int:
    """`value` as a whole number from 0 to `most`. Raises CheckpointError."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= most or value != int(value):
        raise CheckpointError(f"{NAME}: got {name} {_brief(value)}, expected a whole number from 0 to {most}")
    return int(value)


def _counters(values: dict[str, Any], step: int) -> dict[str, float]:
    counters: dict[str, float] = {"position": whole(values.get("position"), "counters.position")}
    tflop = values.get("tflop_per_step")
    if isinstance(tflop, bool) or not isinstance(tflop, (int, float)) or not 0 <= tflop <= 1e30:
        raise CheckpointError(
            f"{NAME}: got counters.tflop_per_step {_brief(tflop)}, expected a finite number, not negative"
        )
    counters["tflop_per_step"] = tflop
    if "left_out" in values:  # earlier releases did not count them
        counters["left_out"] = whole(values["left_out"], "counters.left_out", step)
    return counters


def _files(values: Any) -> dict[str, Seal]:
    if values is None:
        return {}
    if not isinstance(values, dict) or not set(NEEDED) <= set(values) <= set(FILES):
        raise CheckpointError(f"{NAME}: got files {_brief(values)}, expected those of a checkpoint")
    seals = {}
    for name, seal in values.items():
        if not isinstance(seal, dict) or not isinstance(seal.get("sha256"), str):
            raise CheckpointError(f"{NAME}: got files.{name} {_brief(seal)}, expected size and sha256")
        seals[name] = Seal(whole(seal.get("size"), f"files.{name}.size"), seal["sha256"])
    return seals


def _text(path: Path) -> str:
    trouble = why_irregular(path)
    if trouble:
        raise CheckpointError(f"{NAME}: {trouble}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise CheckpointError(f"{NAME}: it has more than {MOST_BYTES} bytes")
    return content.decode("ascii")


def _brief(value: Any) -> str:
    """What a message shows of a foreign value: numbers of any length, texts of any content."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except (ValueError, RecursionError):  # more digits than Python prints
        return "something too long to show"
    return ascii(text)[1:-1][:100]
