"""Shows that something goes on while a program writes to its log."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

TAIL_BYTES = 4096
QUIET_S = 60.0  # without a terminal: a line a minute, so that a log stays short and nobody thinks it hangs


class Waiting:
    """One line that is renewed in a terminal, else a line a minute: the time, and the last line of `log`."""

    def __init__(self, log: Path) -> None:
        self.log, self.start = log, time.monotonic()
        self.watched = sys.stdout is not None and sys.stdout.isatty()
        self.shown, self.next = False, QUIET_S

    def show(self) -> None:
        """Called often."""
        seconds = time.monotonic() - self.start
        if not self.watched and seconds < self.next:
            return
        text = f"  {clock(seconds)}  {''.join(last_lines(self.log, 1)).strip()}"
        if self.watched:
            width = max(20, shutil.get_terminal_size().columns - 1)
            print("\r" + plain(text)[:width].ljust(width), end="", flush=True)
            self.shown = True
        else:
            print(plain(text)[:100], flush=True)
            self.next = seconds + QUIET_S

    def end(self) -> None:
        """Close the line with the time it took."""
        if self.shown:
            width = max(20, shutil.get_terminal_size().columns - 1)
            print("\r" + f"  {clock(time.monotonic() - self.start)}".ljust(width), flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def plain(text: str) -> str:
    """`text` without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def last_lines(log: Path, count: int) -> list[str]:
    """The last `count` lines of a log that are not empty; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [plain(line) for line in text.splitlines() if line.strip()][-count:]
