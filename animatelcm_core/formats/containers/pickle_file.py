"""Reading PyTorch's own files (.ckpt, .pt, .pth, .bin) without ever running what they hold.

Such a file is a pickle, and a pickle can call any function. Only `weights_only` loading is used: it builds
tensors and plain containers and refuses everything else. Before that the file is run on stand-ins
(`dry_run`), so that nothing is built that its size does not justify. What a refused file asked for is read
from its opcodes, again without running it.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from ..errors import DOWNLOAD_AGAIN, FormatError
from ..limits import MAX_PICKLE, MAX_STEPS
from ..words import reason, shown
from .archive import SAFER, contents
from .dry_run import Damage, DryRun, allowed_names, global_name
from .trees import unwrap

# A file from before PyTorch 1.6 is five pickles in a row: magic number, version, machine, contents, and the
# keys of the storages, whose numbers follow.
_PICKLES = 5
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_pickle(path: Path, archive: bool) -> dict[str, Tensor]:
    """Tensors of a PyTorch file, unwrapped.

    archive: the zip form, which is mapped from disk; else the form before PyTorch 1.6, which is read.
    """
    size = path.stat().st_size
    if archive:
        text, sizes = contents(path)
    else:
        with path.open("rb") as file:
            text, sizes = file.read(MAX_PICKLE), {}
    try:
        _rehearse(text, sizes if archive else None, path.name, size)
        tree = _load(path, archive)
    except (OSError, MemoryError, FormatError):
        raise
    except Exception as error:  # damaged pickles raise all sorts
        raise _refusal(path, text, 1 if archive else _PICKLES, error) from error
    return unwrap(tree, path.name, size)


def _rehearse(text: bytes, sizes: Mapping[str, int] | None, name: str, size: int) -> None:
    """Run the pickles on stand-ins. Raises whatever speaks against loading them.

    sizes: bytes of each storage in the archive; None for the form before PyTorch 1.6.
    """
    run, file = DryRun(name, sizes is None, size), io.BytesIO(text)
    if sizes is None:
        if (run.run(file), run.run(file)) != (_MAGIC, _VERSION):
            raise Damage("magic number")
        machine = run.run(file)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise Damage("machine")
    run.run(file)
    if sizes is None:
        keys = run.run(file)
        if not isinstance(keys, list) or not set(keys) <= set(run.storages) or len(set(keys)) < len(keys):
            raise Damage("storages")
        sizes = {key: run.storages[key].size for key in keys}
    if any(storage.size > sizes.get(key, -1) for key, storage in run.storages.items()):
        raise Damage("numbers missing")


def _load(path: Path, archive: bool) -> object:
    if (
        archive and path.suffix.lower() != ".safetensors"
    ):  # torch.load goes by that name, and maps only by name
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _refusal(path: Path, text: bytes, pickles: int, error: Exception) -> FormatError:
    """The error for a file that could not be loaded: it holds code, or it is damaged."""
    if code := foreign_name(text, pickles):
        return FormatError(
            f"{path.name}, which holds code ({shown(code)})", "weights only. The code was not run", SAFER
        )
    return FormatError(
        f"{path.name}, which is damaged, cut off, or no PyTorch file ({reason(error)})",
        "weights",
        DOWNLOAD_AGAIN,
    )


def foreign_name(text: bytes, pickles: int) -> str | None:
    """`module.name` of the first thing that weights do not need, if there is one in a whole pickle.

    What is not PyTorch's own comes before what is: it says more about what the file is up to.
    """
    allowed, file = allowed_names(), io.BytesIO(text)
    try:
        for _ in range(pickles):
            # The whole pickle first: a name that is cut off would look foreign.
            names = list(_names(file))
            found = sorted((name for name in names if name not in allowed), key=_is_torch)
            if found:
                return found[0]
    except Exception:  # not a whole pickle: damaged rather than hostile, whatever the parser tripped over
        return None
    return None


def _is_torch(name: str) -> bool:
    return name.startswith("torch.")


def _names(file: IO[bytes]) -> Iterator[str]:
    """`module.name` of every global in one pickle. From protocol 4 on both are strings put on the stack."""
    strings: list[str] = []
    for operation, argument, _ in islice(pickletools.genops(file), MAX_STEPS):
        if operation.name in ("GLOBAL", "INST"):
            yield global_name(argument)
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)
