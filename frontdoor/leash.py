"""Runs a Python program that ends with the process that started it, and without a traceback on Ctrl-C.

    python leash.py watch PROGRAM    stdin is a pipe from the parent; its end ends program and children
    python leash.py quiet PROGRAM    stdin is the program's; a new parent's number ends it (not on Windows)

PROGRAM is what Python takes: a script, -m and a module, or -c and code, then arguments. A pipe works on every
system, which closes it even when the parent is killed. This file is run by its path, with any Python, and
imports nothing of the front door.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

INTERRUPTED = 130
POLL_S = 0.5


def main(mode: str, program: list[str]) -> None:
    """Run `program`: a script, or -m and a module, or -c and code, with its arguments."""
    if mode == "watch":
        _watch()
    elif os.name != "nt":
        parent = os.getppid()
        threading.Thread(target=_follow, args=(parent,), name="leash", daemon=True).start()
    here = os.path.dirname(os.path.abspath(__file__))
    searched = bool(sys.path) and os.path.abspath(sys.path[0]) == here  # not so under PYTHONSAFEPATH
    if searched:
        sys.path.pop(0)
    kind, folder = program[0], os.getcwd()
    if kind not in ("-m", "-c"):
        folder = os.path.dirname(os.path.abspath(kind))
    if searched:
        sys.path.insert(0, folder)
    sys.argv[:] = program[1:] if kind == "-m" else ["-c", *program[2:]] if kind == "-c" else program
    if kind == "-m":
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(compile(program[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        runpy.run_path(kind, run_name="__main__")


def _watch() -> None:
    """End this process at once when the pipe on stdin ends; the program itself gets an empty stdin."""
    pipe, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(pipe, 1024):
            pass
        if os.name != "nt" and os.getpgrp() == os.getpid():  # what it started as well
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def _follow(parent: int) -> None:
    """End this process when `parent` is no longer its parent."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(1)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
