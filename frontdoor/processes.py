"""Runs child processes and gives them time to clean up."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .paths import ROOT

PATIENCE_S = 30.0
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no hang-up


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> int:
    """Run `command` to its end and return its exit status; `env` is added to the environment.

    `subprocess.run` kills the child a quarter of a second after Ctrl-C. A test run needs longer, to stop its
    servers.
    """
    child = None
    try:
        with hold_signals():  # else one could come before we have the process
            child = subprocess.Popen(
                [str(part) for part in command], env={**os.environ, **(env or {})}, cwd=cwd
            )
        return child.wait()
    except BaseException as error:
        if child is not None:
            if not isinstance(error, KeyboardInterrupt):  # the terminal sends Ctrl-C to the child as well
                child.terminate() if os.name == "nt" else child.send_signal(signal.SIGINT)
            _let_end(child)
        raise


def _let_end(child: subprocess.Popen) -> None:
    try:
        child.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()


@contextmanager
def hold_signals() -> Iterator[None]:
    """Hold back signals that would end the program until the block is over."""
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread only
        yield
        return
    came: list[int] = []
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    handled = [number for number in numbers if callable(signal.getsignal(number))]  # as we handle them
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
