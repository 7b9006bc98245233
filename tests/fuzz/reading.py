"""One malformed file through every reader, and whether what came of it is allowed."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from animatelcm_core.formats import (
    FormatError,
    build_image_encoder,
    build_motion_model,
    check_adapter_lora,
    load_motion,
    lora_schedule,
    read_tensors,
    require_lora,
)
from animatelcm_core.host.load.small_sizes import METADATA_KEY, SizesError, check_weights, parse_sizes

from . import bases, containers, contents, pickles

SECONDS, MEGABYTES = 5, 1024  # that reading a file may take, above the file's own size
GENERATORS: dict[Callable[[Random, Path], None], int] = {
    **containers.GENERATORS,
    **pickles.GENERATORS,
    **contents.GENERATORS,
}
NAMES = ("file.ckpt", "file.safetensors", "file.pt", "file.bin", "AnimateLCM_sd15_t2v.ckpt")
# What a message must not hold: commands to a terminal, PyTorch's advice.
_BAD = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]|weights_only|torch\.load\b(?!\))|trust the|arbitrary code"
)
_LONGEST = 1500


@dataclass(frozen=True)
class Outcome:
    """kind: loads, refused, foreign, slow, large, message, code."""

    kind: str
    generator: str
    words: str
    seconds: float = 0.0
    megabytes: float = 0.0


def generate(seed: int, index: int, folder: Path) -> tuple[str, Path]:
    """The file of this number, and its generator's name."""
    random = Random(f"{seed}:{index}")
    torch.manual_seed(seed * 100_003 + index)
    make = random.choices(list(GENERATORS), list(GENERATORS.values()))[0]
    path = folder / random.choice(NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(random, path)
    return make.__name__, path


def read_all(path: Path) -> str:
    """What the readers say: `loads`, or the first refusal. Raises whatever they raise."""
    tensors, metadata = read_tensors(path)
    said = [
        _refusal(lambda: _motion(tensors, metadata, path)),
        _refusal(lambda: require_lora(tensors, path.name)),
    ]
    for kind, network in bases.NETWORKS.items():
        shapes = {k.removesuffix(".weight"): s for k, s in network.items() if k.endswith(".weight")}
        said.append(_refusal(partial(check_adapter_lora, tensors, path.name, kind, shapes)))
    lora_schedule(path, metadata)
    if METADATA_KEY in metadata:
        try:
            check_weights(parse_sizes(metadata[METADATA_KEY]), tensors, "model.diffusion_model.")
        except SizesError as error:
            said.append(f"got {error}; expected sizes ({path.name})")
    for text in said:
        if text is not None:
            _check_message(text, path)
    return "loads" if None in said else str(said[0])


def _motion(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    file = load_motion(tensors, metadata, path.name)
    build_motion_model(file)
    build_image_encoder(file, dtype=torch.float16)


def _refusal(read: Callable[[], object]) -> str | None:
    try:
        read()
    except FormatError as error:
        return str(error)
    return None


class BadMessage(Exception):
    """A refusal that does not say what it should, or says what it should not."""


def _check_message(text: str, path: Path) -> None:
    if not (text.startswith("got ") and "; expected " in text and path.name in text):
        raise BadMessage(text[:300])
    if found := _BAD.search(text):
        raise BadMessage(f"{found.group()!r} in {text[:300]!r}")
    if len(text) > _LONGEST:
        raise BadMessage(f"{len(text)} characters: {text[:300]}")
    if "cannot be read (" in text:  # the last net: no crash, but a fault that should have been foreseen
        raise BadMessage(f"last net: {text[:300]}")


def attempt(seed: int, index: int, folder: Path) -> Outcome:
    """Make file `index`, read it, judge what came of it."""
    name, path = generate(seed, index, folder)
    own = path.stat().st_size / 2**20 if path.is_file() else 0
    before = _fresh_peak()
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            words = read_all(path)
        kind = "loads" if words == "loads" else "refused"
    except FormatError as error:
        kind, words = "refused", str(error)
        try:
            _check_message(words, path)
        except BadMessage as bad:
            kind, words = "message", str(bad)
    except BadMessage as bad:
        kind, words = "message", str(bad)
    except BaseException as error:
        kind, words = "foreign", f"{type(error).__name__}: {str(error)[:300]}"
    seconds = time.process_time() - start
    grown = max(0.0, _peak() - before - own)
    if list(folder.glob("*.ran")):
        kind = "code"
    elif kind in ("loads", "refused") and seconds > SECONDS:
        kind = "slow"
    elif kind in ("loads", "refused") and grown > MEGABYTES:
        kind = "large"
    return Outcome(kind, name, words[:400], seconds, grown)


def _fresh_peak() -> float:
    """MB in use now; the peak is counted from here on. Linux alone counts it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("inf")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM") if Path("/proc/self/clear_refs").exists() else 0.0


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
