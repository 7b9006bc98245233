"""Stamp files: they name the lock files that something was made from, so that a second run skips it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 over the contents of `files`; line ends do not count, git may have changed them."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def is_current(stamp: Path, mark: str) -> bool:
    """Whether `stamp` holds `mark`."""
    return stamp.is_file() and stamp.read_text(encoding="ascii", errors="replace").strip() == mark


def write(stamp: Path, mark: str) -> None:
    """Write `mark` into `stamp`: the last step, once everything it stands for is complete."""
    stamp.write_text(mark + "\n", encoding="ascii")
