"""Lists of the files in a folder, by which a later run knows that all of them are still there."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

CODE = ".py"  # what runs is compared by its content too; of the rest the size is enough


def listing(folder: Path) -> list[str]:
    """A line for each file: size, checksum of code, path; in order. Compiled code is left out."""
    return sorted(_line(path, name) for path, name in _files(folder))


def digest(lines: list[str]) -> str:
    """SHA-256 over a listing."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def faults(folder: Path, lines: list[str]) -> Iterator[str]:
    """Names of listed files that are missing or have changed. Other files do not count."""
    for line in lines:
        name = line.split(" ", 2)[2]
        try:
            whole = _line(os.path.join(folder, name), name) == line
        except OSError:
            whole = False
        if not whole:
            yield name


def write_list(file: Path, lines: list[str]) -> None:
    """Write a listing with its digest first."""
    text = "\n".join([digest(lines), *lines]) + "\n"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))


def read_list(file: Path) -> list[str] | None:
    """The listing in `file`; None if there is none or it is not whole."""
    try:
        first, *lines = file.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    except OSError:
        return None
    return lines if first == digest(lines) else None


def remove(path: Path) -> None:
    """Remove a folder with all in it, or whatever is in its place."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _line(path: str, name: str) -> str:
    if not name.endswith(CODE):
        return f"{os.stat(path).st_size} - {name}"
    with open(path, "rb") as file:
        content = file.read()
    return f"{len(content)} {zlib.crc32(content):08x} {name}"


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Path, and name relative to `folder` with forward slashes, of each file."""
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        for name in names:
            yield os.path.join(here, name), name if inside == "." else f"{inside}/{name}"
