"""Runs child processes and gives them time to clean up."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .paths import ROOT
from .progress import Waiting

PATIENCE_S = 30.0
TICK_S = 0.5
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no hang-up
NEW_GROUP = 0x200  # CREATE_NEW_PROCESS_GROUP of Windows
LEASH = Path(__file__).with_name("leash.py")


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


def start_leashed(
    python: Path, program: Sequence[str | Path], cwd: Path, *, output: IO[bytes] | None = None
) -> subprocess.Popen:
    """Start a Python program that ends when this process does, in a session or group of its own.

    Ctrl-C goes to us alone, and we stop the program when we are ready. `output` takes all that it prints.
    """
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"} if output else None
    return subprocess.Popen(
        [str(part) for part in (python, LEASH, "watch", *program)],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=os.name != "nt",
        creationflags=NEW_GROUP if os.name == "nt" else 0,
    )


def run_leashed(python: Path, program: Sequence[str | Path], *, log: Path | None = None) -> int:
    """Run a Python program as `start_leashed` does and return its exit status.

    With `log`, what it prints goes to that file, and the person sees how long it takes and what it does.
    """
    child = None
    waiting = None if log is None else Waiting(log)
    output = None if log is None else log.open("wb")
    try:
        with hold_signals():
            child = start_leashed(python, program, ROOT, output=output)
        while True:
            try:
                return child.wait(TICK_S if waiting else None)
            except subprocess.TimeoutExpired:
                if waiting:
                    waiting.show()
    finally:
        if child is not None:
            stop(child)
        if output is not None:
            output.close()
        if waiting is not None:
            waiting.end()


def stop(child: subprocess.Popen, patience: float = 10) -> None:
    """Stop a leashed program, if it runs. A second Ctrl-C on the way kills it at once."""
    try:
        if child.poll() is None:
            child.terminate()
            child.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if os.name != "nt":
            with suppress(OSError):  # what it started and left: it led a group of its own
                os.killpg(child.pid, signal.SIGKILL)
        if child.stdin is not None:
            child.stdin.close()


def _let_end(child: subprocess.Popen) -> None:
    try:
        child.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, SystemExit):
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
