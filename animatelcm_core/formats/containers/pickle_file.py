"""Reading PyTorch's own files (.ckpt, .pt, .pth, .bin) without ever running what they hold.

Such a file is a pickle, and a pickle can call any function. Only `weights_only` loading is used: it builds
tensors and plain containers and refuses everything else. What a refused file asked for is read from its
opcodes, again without running it.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from ..errors import FormatError
from .heads import DOWNLOAD_AGAIN

WRAPPERS = ("state_dict", "model", "module", "params")  # names that training scripts put the weights under
SAFER = "Get a .safetensors version, which cannot hold code, or a file from a source you trust."
# A file from before PyTorch 1.6 is four pickles in a row: magic number, version, machine, and the contents.
_PICKLES = 4
_HARMLESS = ("torch", "collections")


def read_pickle(path: Path, archive: bool) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, unwrapped.

    archive: the zip form, which is mapped from disk; else the form before PyTorch 1.6, which is read.
    """
    if archive:
        _check_archive(path)
    try:
        tree = _load(path, archive)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged pickles raise all sorts
        raise _refusal(path, archive, error) from error
    return unwrap(tree, path.name)


def _load(path: Path, archive: bool) -> object:
    if (
        archive and path.suffix.lower() != ".safetensors"
    ):  # torch.load goes by that name, and maps only by name
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def unwrap(tree: object, name: str) -> dict[str, Tensor]:
    """The tensors of a loaded pickle, whatever they are wrapped in; other entries are left out.

    Nested mappings that are not a known wrapper keep their place in the key, `outer.inner`, so that messages
    can say what the file holds.
    """
    if not isinstance(tree, Mapping):
        raise FormatError(
            f"a {type(tree).__name__} in {name}", "a table of named tensors", "Choose a weights file."
        )
    if not any(isinstance(value, Tensor) for value in tree.values()):
        for key in WRAPPERS:
            if isinstance(tree.get(key), Mapping):
                return unwrap(tree[key], name)
        if len(tree) == 1:
            return unwrap(next(iter(tree.values())), name)
    tensors = dict(_flatten(tree, ""))
    if not tensors:
        raise FormatError(f"{name} without a single tensor", "weights", "Choose a weights file.")
    return tensors


def _flatten(tree: Mapping, prefix: str):
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")


def _check_archive(path: Path) -> None:
    """FormatError unless the archive is complete, plain and PyTorch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except OSError:
        raise
    except Exception as error:  # BadZipFile, and more than a few others for damaged directories
        raise FormatError(
            f"{path.name}, cut off after {path.stat().st_size:,} bytes, or damaged: its end is missing",
            "a complete PyTorch file",
            DOWNLOAD_AGAIN,
        ) from error
    names = {record.filename.rpartition("/")[2] for record in records}
    if "data.pkl" not in names:
        raise FormatError(
            f"the zip archive {path.name}", "a PyTorch file", "Unpack it and use the file inside."
        )
    if "constants.pkl" in names:
        raise FormatError(f"{path.name}, a TorchScript program", "weights; a program is not run", SAFER)
    stored = sum(record.file_size for record in records)
    if any(record.compress_type for record in records) or stored > path.stat().st_size:
        raise FormatError(
            f"{path.name} with compressed records", "PyTorch's uncompressed archive", DOWNLOAD_AGAIN
        )


def _refusal(path: Path, archive: bool, error: Exception) -> FormatError:
    """The error for a file that could not be loaded: it holds code, or it is damaged."""
    if code := foreign_name(path, archive):
        return FormatError(
            f"{path.name}, which holds code ({code})", "weights only. The code was not run", SAFER
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FormatError(
        f"{path.name}, which is damaged, cut off, or no PyTorch file ({reason})", "weights", DOWNLOAD_AGAIN
    )


def foreign_name(path: Path, archive: bool) -> str | None:
    """`module.name` of the first thing that weights do not need, if there is one and the file is whole."""
    try:
        if archive:
            with zipfile.ZipFile(path) as zipped:
                record = next(name for name in zipped.namelist() if name.rpartition("/")[2] == "data.pkl")
                with zipped.open(record) as file:
                    return _first_foreign(file, 1)
        with path.open("rb") as file:
            return _first_foreign(file, _PICKLES)
    except Exception:  # not a whole pickle: damaged rather than hostile, whatever the parser tripped over
        return None


def _first_foreign(file: IO[bytes], pickles: int) -> str | None:
    for _ in range(pickles):
        # The whole pickle first: a name that is cut off would look foreign.
        names = list(_names(file))
        for name in names:
            if name.split(".")[0] not in _HARMLESS:
                return name
    return None


def _names(file: IO[bytes]) -> Iterator[str]:
    """`module.name` of every global in one pickle. From protocol 4 on both are strings put on the stack."""
    strings: list[str] = []
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)
