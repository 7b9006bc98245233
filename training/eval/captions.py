"""Reads the captions of an evaluation: one a line, or a column of a CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from ..data.errors import DataError
from ..data.listing import clean
from ..data.regular import why_irregular


def read_captions(path: Path, column: str = "caption") -> list[str]:
    """The captions in the order of the file, empty ones left out; `column`: of a .csv. Raises DataError."""
    trouble = why_irregular(path)
    if trouble:
        raise DataError(f"got {path}: {trouble}; expected captions in UTF-8.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            if path.suffix.lower() != ".csv":
                found = [clean(line) for line in opened]
            else:
                rows = csv.DictReader(opened)
                if column not in (rows.fieldnames or []):
                    raise DataError(
                        f"got the columns {', '.join(rows.fieldnames or []) or '(none)'} in {path}; expected "
                        f"{column}. Name the one with captions by --caption-column."
                    )
                found = [clean(row[column] or "") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"got {path}, which cannot be read ({error}); expected captions in UTF-8.") from None
    found = [caption for caption in found if caption]
    if not found:
        raise DataError(f"got no caption in {path}; expected one a line, or a CSV with a column of them.")
    return found
