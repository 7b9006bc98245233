"""One process at a time writes a folder: the system's lock on a file in it, which ends with its process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .config_file import ConfigError

NAME = ".lock"


@contextmanager
def sole_writer(folder: Path, doing: str) -> Iterator[None]:
    """Hold `folder`, which is made if it is not there. Raises ConfigError at once if another process does.

    doing: what two of at once would spoil, for the message. A folder that was made for nothing goes again.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"got {folder}, into which another process is {doing}; expected one at a time. Wait for it to "
            "end, or use another folder."
        ) from None
    except NotImplementedError:  # a file system without locks: as before there were any
        yield
        return
    try:
        yield
    except BaseException:
        if new:
            _remove_if_empty(folder)
        raise
    finally:
        lock.release()


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [NAME]:
            (folder / NAME).unlink()
            folder.rmdir()
