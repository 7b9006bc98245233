"""Errors that a person can act on, and the last net for those that nobody foresaw."""

from __future__ import annotations

import io
import sys
import tempfile
import time
import traceback
from pathlib import Path


class Problem(Exception):
    """Its message is printed without a traceback: what was got, what is expected, what to do."""


def unforeseen(error: Exception, folder: Path) -> str:
    """What to say about an error that is a fault of ours. Its traceback goes to a file in `folder`."""
    what = "".join(c if c.isprintable() else " " for c in " ".join(str(error).split()))[:200]
    told = f"an unforeseen error, {type(error).__name__}{what and ': ' + what}"
    text = "".join(traceback.format_exception(error))
    for place in (folder, Path(tempfile.gettempdir())):
        try:
            log = place / f"quickstart-error-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06}.log"
            log.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return f"{told}\nPlease report it with this file: {log}"
    return told


def print_anything() -> None:
    """Let print() take every text: what a terminal cannot show is escaped instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
