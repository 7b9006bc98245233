"""Runs another command of the small world in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from ..paths import ROOT


def in_a_process(command: str, *arguments: str) -> None:
    """`python -m training.small_world COMMAND ...`. Raises CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "training.small_world", command, *arguments], check=True, cwd=ROOT)
