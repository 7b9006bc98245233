"""Lists the files of a folder with their captions: from files beside them, or from a CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import DataError, UnreadableMedia
from .regular import why_irregular

MAX_CAPTION = 2**20  # bytes


@dataclass(frozen=True)
class Entry:
    """A file, relative to the data set's folder; caption None: in the sidecar file."""

    path: str
    caption: str | None = None


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a CSV."""

    caption: str
    path: str
    folder: str | None
    suffix: str  # of a path that has none of the suffixes of media


def list_folder(root: Path, suffixes: Sequence[str]) -> list[Entry]:
    """Files below `root` with these suffixes, hidden ones left out, sorted. Raises DataError."""
    check_folder(root)
    found = []
    for folder, _, names in os.walk(root):
        below = PurePosixPath(Path(folder).relative_to(root).as_posix())
        found += [str(below / n) for n in names if n.lower().endswith(tuple(suffixes)) and n[0] != "."]
    if not found:
        raise DataError(
            f"got no file with one of {' '.join(suffixes)} in {root}; expected media there, each with its "
            "caption beside it in NAME.txt, or name a csv with the captions."
        )
    return [Entry(path) for path in sorted(found)]


def list_csv(table: Path, columns: Columns, suffixes: Sequence[str]) -> list[Entry]:
    """The rows of a CSV, in its order. Files are not looked for yet. Raises DataError."""
    trouble = why_irregular(table)
    if trouble:
        raise DataError(f"got {trouble} for the CSV {table}; expected a readable file.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as opened:
            entries = list(_rows(table, csv.DictReader(opened), columns, suffixes))
    except OSError as error:
        raise DataError(f"got {error.strerror} for the CSV {table}; expected a readable file.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"got {table} with the byte {error.object[error.start]:#04x} that is not UTF-8; expected UTF-8: "
            "save it anew with that encoding (iconv -f latin1 -t utf-8)."
        ) from None
    except csv.Error as error:
        raise DataError(f"got {table} that is not a CSV: {error}; expected comma separated values.") from None
    if not entries:
        raise DataError(f"got no row in {table}; expected one row a file below a line with column names.")
    return entries


def _rows(
    table: Path, rows: csv.DictReader[str], columns: Columns, suffixes: Sequence[str]
) -> Iterator[Entry]:
    header = rows.fieldnames or []
    lacking = [name for name in (columns.caption, columns.path) if name not in header]
    if lacking:
        raise DataError(
            f"got the columns {', '.join(header) or '(none)'} in {table}; expected {', '.join(lacking)}: set "
            "path_column and caption_column to the names that the file has."
        )
    folder = columns.folder if columns.folder in header else None
    for row in rows:
        name = (row[columns.path] or "").strip()
        if not name.lower().endswith(tuple(suffixes)):
            name += columns.suffix
        if folder and row[folder]:
            name = f"{row[folder].strip()}/{name}"
        yield Entry(name, clean(row[columns.caption] or ""))


def check_folder(root: Path) -> None:
    """Raises DataError where `root` is not a folder."""
    if not root.is_dir():
        raise DataError(f"got {root}, which is not a folder; expected the folder with the data.")


def inside(root: Path, path: str) -> Path:
    """`path` below `root`, links followed. Raises UnreadableMedia where it leads out of `root`."""
    try:
        home = root.resolve()
        target = (home / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a zero byte
        raise UnreadableMedia(f"its path cannot be followed: {error}") from None
    if not target.is_relative_to(home):
        raise UnreadableMedia("it leads out of the data's folder; put the file itself there")
    return target


def caption_beside(root: Path, path: str) -> str:
    """The caption in NAME.txt. Raises UnreadableMedia where there is none."""
    sidecar = inside(root, str(PurePosixPath(path).with_suffix(".txt")))
    if not sidecar.exists():
        raise UnreadableMedia(f"it has no caption: expected it in {sidecar.name}")
    trouble = why_irregular(sidecar)
    if trouble:
        raise UnreadableMedia(f"its caption {sidecar.name} cannot be read: {trouble}")
    try:
        with sidecar.open("rb") as file:
            text = file.read(MAX_CAPTION + 1)
        if len(text) > MAX_CAPTION:
            raise UnreadableMedia(f"its caption {sidecar.name} has more than {MAX_CAPTION} bytes")
        return clean(text.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableMedia(f"its caption {sidecar.name} cannot be read: {error}") from None


def clean(caption: str) -> str:
    """White space and line ends become single spaces."""
    return " ".join(caption.split())
