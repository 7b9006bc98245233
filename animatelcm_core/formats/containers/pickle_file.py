"""Reading PyTorch's own files (.ckpt, .pt, .pth, .bin) without ever running what they hold.

Such a file is a pickle, and a pickle can call any function. Only `weights_only` loading is used: it builds
tensors and plain containers and refuses all else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import FormatError
from .heads import DOWNLOAD_AGAIN
from .pickle_names import foreign_name

WRAPPERS = ("state_dict", "model", "module", "params")  # names that training scripts put the weights under
SAFER = "Get a .safetensors version, which cannot hold code, or a file from a source you trust."


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
    """The tensors of a loaded pickle, whatever they are wrapped in; entries that are no tensors are left out.

    Nested mappings that are no known wrapper keep their place in the key, `outer.inner`, so that messages can
    say what the file holds.
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
    """What the failed loading means."""
    if code := foreign_name(path, archive):
        return FormatError(
            f"{path.name}, which holds code ({code})", "weights only. The code was not run", SAFER
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FormatError(
        f"{path.name}, which is damaged, cut off, or no PyTorch file ({reason})", "weights", DOWNLOAD_AGAIN
    )
