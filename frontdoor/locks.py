"""One set-up at a time: a lock on a file, which the system lets go of when its process ends or is killed."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

POLL_S = 0.2
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what the systems say of a lock that another one has

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock on the file `path` for this block; if another process has it, say so and wait.

    The file stays: deleted and made anew it would be two locks. Where the file system has none (some network
    folders), the block runs without, and a line says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        locked = True
        try:
            _wait_for(file, f"Another quickstart is {doing}: waiting until it is done")
        except OSError as error:
            print(f"{path} cannot be locked ({error}): do not set up twice at the same time", flush=True)
            locked = False
        try:
            yield
        finally:
            if locked:
                _unlock(file)


def _wait_for(file: IO[bytes], notice: str) -> None:
    """Lock `file`, after `notice` if that takes waiting. Raises OSError where there are no locks."""
    told = False
    while True:
        try:
            _lock(file)
            return
        except OSError as error:
            if error.errno not in HELD:
                raise
        if not told:
            print(notice, flush=True)
            told = True
        time.sleep(POLL_S)
