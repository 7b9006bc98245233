"""Unpacks one folder of a downloaded package."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from .problem import Problem


def unpack_folder(archive: Path, folder: str, destination: Path) -> int:
    """Write the files below `folder` in a .whl, .zip or .tar.gz to `destination`; returns their number.

    Links, devices and other folders are left out. Raises Problem for a name that leads out of `destination`
    and for an archive without that folder.
    """
    count = 0
    files = _zip_files if archive.suffix in (".whl", ".zip") else _tar_files
    for name, source in files(archive):
        inside = _below(name, folder)
        if inside is None:
            continue
        target = destination.joinpath(*inside.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as sink:
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


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the files in a zip."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not entry.is_dir():
                with opened.open(entry) as source:
                    yield entry.filename, source


def _tar_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the regular files in a tar."""
    with tarfile.open(archive) as opened:
        for entry in opened:
            source = opened.extractfile(entry) if entry.isreg() else None
            if source is not None:
                with source:
                    yield entry.name, source
