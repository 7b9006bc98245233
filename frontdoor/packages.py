"""Which installed packages have lost files, by the lists that pip keeps of them (RECORD)."""

from __future__ import annotations

import csv
import os
import re
import shutil
from pathlib import Path

INFO = ".dist-info"


def site_of(venv: Path) -> Path | None:
    """The folder of packages in an environment."""
    found = (*venv.glob("lib/python*/site-packages"), venv / "Lib" / "site-packages")
    folders = [folder for folder in found if folder.is_dir()]
    try:
        version = re.search(r"(?m)^version\S*\s*=\s*(\d+\.\d+)", (venv / "pyvenv.cfg").read_text("utf-8"))
    except (OSError, ValueError):
        version = None
    # More than one: the environment was made anew with another Python.
    ours = [folder for folder in folders if version and folder.parent.name == f"python{version[1]}"]
    return next(iter([*ours, *folders]), None)


def installed(site: Path) -> dict[str, str]:
    """Name -> version of the packages there, names as pip compares them."""
    folders = (entry[: -len(INFO)] for entry in os.listdir(site) if entry.endswith(INFO))
    pairs = (folder.partition("-") for folder in folders)
    return {normal(name): version for name, _, version in pairs}


def damaged(site: Path, names: set[str]) -> set[str]:
    """Those of `names` with a file that is missing or of another size, or without a list of their files."""
    return {
        name
        for entry in os.listdir(site)
        if entry.endswith(INFO) and (name := normal(entry.partition("-")[0])) in names
        if not _is_whole(site, entry)
    }


def drop_unfinished(site: Path) -> None:
    """Forget packages without a list of their files: pip was killed as it wrote them, and removes none."""
    for entry in os.listdir(site):
        if entry.endswith(INFO) and not (site / entry / "RECORD").is_file():
            shutil.rmtree(site / entry, ignore_errors=True)


def pinned(lock: Path) -> set[str]:
    """Names in a lock file, as pip compares them."""
    lines = (line.partition("==")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return {normal(line) for line in lines if line and not line.startswith(("#", "-"))}


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_whole(site: Path, info: str) -> bool:
    """Some 60,000 files in all: this is written for speed."""
    stat, root = os.stat, f"{site}{os.sep}"
    try:
        text = (site / info / "RECORD").read_text(encoding="utf-8")
        for line in text.splitlines():
            # A name with a comma or a quote in it is quoted.
            name, _, size = next(csv.reader([line])) if '"' in line else line.rsplit(",", 2)
            if size and stat(root + name).st_size != int(size):  # compiled code has none
                return False
    except (OSError, ValueError, csv.Error):
        return False
    return bool(text.strip())
