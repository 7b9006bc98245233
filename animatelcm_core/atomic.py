"""Atomic writes: a file gets its name once it is complete; a crash or a full disk leaves the old file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; at the end it is synced and renamed to `path`.

    Its name is this process's own, so two processes may write the same `path`: the later one stays. If
    anything goes wrong, the temporary file is removed and `path` is as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb+") as file:  # after a power cut the new name must not point to an empty file
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:  # also a keyboard interrupt
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that replaces `path` at the end, or is removed if anything goes wrong."""
    with beside(path) as part, part.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path`, or leave it as it was. Raises OSError."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8, or leave it as it was. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))
