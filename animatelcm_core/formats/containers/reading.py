"""Reads any weights file: `read_tensors`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor

from ..errors import FormatError, reading
from ..limits import MAX_NAME
from ..words import has_control, shown
from .heads import container
from .pickle_file import read_pickle
from .safetensors_file import read_safetensors


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a weights file, on the CPU, mapped from disk, in the file's dtypes; and its text metadata.

    Wrappers (`state_dict` and the like) and the `module.` prefix of distributed training are removed.
    Code in a file is never run. Do not write into the tensors. Raises FormatError for a file that is missing,
    damaged or no weights file, OSError if the disk fails.
    """
    path = Path(path)
    with reading(path.name):
        kind = container(path)
        if kind == "safetensors":
            tensors, metadata = read_safetensors(path)
        else:
            tensors, metadata = read_pickle(path, archive=kind == "zip"), {}
        _check_names(tensors, path.name)
        return strip_module(tensors), metadata


def _check_names(tensors: Mapping[str, Tensor], name: str) -> None:
    """FormatError for names that no program writes, and no message should repeat."""
    odd = next((key for key in tensors if len(key) > MAX_NAME or has_control(key)), None)
    if odd is not None:
        raise FormatError(
            f"the tensor name {shown(odd)} of {len(odd):,} characters in {name}",
            f"at most {MAX_NAME}, and no control characters",
            "Choose a weights file.",
        )


def strip_module(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without what distributed training (`module.`) and torch.compile put before names."""
    names = dict(tensors)
    for prefix in ("module.", "_orig_mod.", "module."):
        if names and all(key.startswith(prefix) for key in names):
            names = {key[len(prefix) :]: value for key, value in names.items()}
    return names
