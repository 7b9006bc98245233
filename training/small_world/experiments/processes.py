"""Runs another command of the small world in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from ..paths import ROOT


def run_in_process(command: str, *arguments: str) -> None:
    """Run `python -m training.small_world COMMAND ...`. Raises CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "training.small_world", command, *arguments], check=True, cwd=ROOT)
