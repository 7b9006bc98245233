"""One folder out of a downloaded package."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from .problem import Problem


def unpack_folder(archive: Path, folder: str, destination: Path) -> int:
    """Write the files below `folder` in a .whl, .zip or .tar.gz to `destination`; returns their number.

    Links, devices and other folders are left out. Raises Problem for a name that leads out of `destination`
    and for an archive without that folder.
    """
    count = 0
    with _entries(archive) as entries:
        for name, read in entries:
            inside = _below(name, folder)
            if inside is None:
                continue
            target = destination.joinpath(*inside.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with read() as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            count += 1
    if count == 0:
        raise Problem(f"got no folder {folder} in {archive.name}, expected ComfyUI's files there.")
    return count


def _below(name: str, folder: str) -> PurePosixPath | None:
    """The path of `name` relative to `folder`, None if it is elsewhere. Raises Problem if it would escape."""
    path = PurePosixPath(name)
    if not path.is_relative_to(folder):
        return None
    inside = path.relative_to(folder)
    # A backslash or a colon is part of a name here, but a way out (..\, C:) on Windows.
    if not inside.parts or any(part == ".." or "\\" in part or ":" in part for part in inside.parts):
        raise Problem(f"got the file name {name!r} in a package, which leads out of its folder: stopped.")
    return inside


@contextmanager
def _entries(archive: Path) -> Iterator[Iterator[tuple[str, Callable[[], Any]]]]:
    """Names of the regular files, each with a function that opens it."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield ((e.filename, lambda e=e: opened.open(e)) for e in opened.infolist() if not e.is_dir())
    else:
        with tarfile.open(archive) as opened:
            yield ((e.name, lambda e=e: opened.extractfile(e)) for e in opened if e.isreg())
