"""Paths of the repository: its environment, its hosts, its lock files."""

from __future__ import annotations

import os
from pathlib import Path

from .problem import Problem

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
HOSTS = ROOT / ".hosts"
REQUIREMENTS = ROOT / "requirements"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def full_path(path: Path) -> Path:
    """`path` from the root on, with ~ as the person's folder. Raises Problem if there is no such path."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:  # ~nobody, a circle of links, a zero byte
        raise Problem(f"got the path {str(path)!r}, expected a folder: {error}") from None
