"""Whether a path is a file that can be read to its end: opening a named pipe waits for ever."""

from __future__ import annotations

import stat
from pathlib import Path

MISSING = "there is no such file"


def why_irregular(path: Path) -> str | None:
    """Why `path` cannot be read as a file; None for a regular file, links followed."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    except ValueError:  # a zero byte in its name
        return "its name has a zero byte"
    if stat.S_ISREG(mode):
        return None
    kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe, a device or a socket"
    return f"it is {kind}, expected a file"
