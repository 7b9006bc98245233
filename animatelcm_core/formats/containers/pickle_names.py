"""Which functions and classes a pickle asks for, read without running it, for the message of a refusal."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# A file from before PyTorch 1.6 is four pickles in a row: magic number, version, machine, and the contents.
_PICKLES = 4
_HARMLESS = ("torch", "collections")


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
