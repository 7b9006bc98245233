"""Foreign text, cleaned before it goes into a message."""

from __future__ import annotations

import re

SHOWN = 200  # characters of a foreign name that a message shows
_MOST = 2000
# Control characters (a terminal obeys them), halves of characters, and those that turn a line around.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What PyTorch says about a file that it refuses is mostly how to load it all the same.
_ADVICE = re.compile(r"weights[ _]only|torch\.load|safe_globals|trust|arbitrary code", re.IGNORECASE)


def has_control(text: str) -> bool:
    """Whether the text holds a character that no name needs."""
    return _CONTROL.search(text) is not None


def clean(text: str, most: int = _MOST) -> str:
    """The text without control characters, and without its end if it is longer than `most`."""
    text = _CONTROL.sub("?", text[: most + 1])
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(foreign: object) -> str:
    """A name or value from a file as a message shows it."""
    return clean(str(foreign), SHOWN)


def reason(error: BaseException) -> str:
    """What a library said about a file in a few words, but never its advice on how to load it unsafely."""
    try:
        line = next(iter(str(error).splitlines()), "")
    except Exception:  # an exception may have a broken text, too
        line = ""
    if not line or _ADVICE.search(line):
        return type(error).__name__
    return shown(line)
