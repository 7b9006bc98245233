"""Runs a Python program that ends with the process that started it, and without a traceback on Ctrl-C.

    python leash.py watch main.py ARGUMENTS    stdin is a pipe from the parent; its end ends the program
    python leash.py watch -m pip ARGUMENTS
    python leash.py quiet script.py ARGUMENTS  stdin is the program's

A pipe works on every system, and the system closes it even when the parent is killed. This file is run by its
path, with any Python, and imports nothing of the front door.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

INTERRUPTED = 130


def main(mode: str, program: list[str]) -> None:
    """Run `program`: a script, or -m and a module, with its arguments."""
    if mode == "watch":
        _watch()
    here = os.path.dirname(os.path.abspath(__file__))
    searched = bool(sys.path) and os.path.abspath(sys.path[0]) == here  # not so under PYTHONSAFEPATH
    if searched:
        sys.path.pop(0)
    module = program[1] if program[0] == "-m" else None
    folder = os.getcwd() if module else os.path.dirname(os.path.abspath(program[0]))
    if searched:
        sys.path.insert(0, folder)
    sys.argv[:] = program[1:] if module else program
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program[0], run_name="__main__")


def _watch() -> None:
    """End this process at once when the pipe on stdin ends; the program itself gets an empty stdin."""
    pipe, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(pipe, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
