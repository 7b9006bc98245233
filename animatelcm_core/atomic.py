"""Files that appear under their name when they are complete: a kill or a full disk leaves the old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name beside `path` for code that writes a file by name: at the end on the disk and renamed to `path`.

    The name is this process's own, so two processes may write the same `path`: the later one stays. If
    anything goes wrong the file is removed and `path` is as it was.
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
    """A binary file that replaces `path` once it is written, or is removed if anything goes wrong."""
    with beside(path) as part, part.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path`, or leave it as it was. Raises OSError."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8, or leave it as it was. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))
