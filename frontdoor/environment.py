"""The Python environment in .venv/: one for both hosts, the tests and the training."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import stamps
from .paths import PYTHON, REQUIREMENTS, ROOT, VENV
from .problem import Problem
from .processes import run

LOCK = REQUIREMENTS / "lock.txt"
AUDIO = REQUIREMENTS / "torchaudio.txt"
# What each group is made from; all of it is in the group's stamp.
GROUPS = {
    "run": (REQUIREMENTS / "run.txt", AUDIO, LOCK),
    "test": (REQUIREMENTS / "test.txt", ROOT / "training" / "requirements.txt", LOCK),
}
PIP_LOG = VENV / "quickstart-pip.log"
GIB = 2**30


def ensure(*groups: str) -> None:
    """Install the packages of `groups` (keys of GROUPS) that are not up to date. Raises Problem."""
    for group in outdated(*groups):
        _check_machine()
        _make_venv()
        print(f"Installing Python packages ({group}) into {VENV}", flush=True)
        pip("install", "-r", GROUPS[group][0], doing="install the Python packages")
        if AUDIO in GROUPS[group]:
            pip("install", "--no-deps", "-r", AUDIO, doing="install torchaudio")
        stamps.write(stamp_of(group), stamps.fingerprint(GROUPS[group]))


def outdated(*groups: str) -> list[str]:
    """Those of `groups` that were never installed, or from other lock files."""
    return [g for g in groups if not stamps.is_current(stamp_of(g), stamps.fingerprint(GROUPS[g]))]


def stamp_of(group: str) -> Path:
    """The stamp of a group of packages."""
    return VENV / f"quickstart-{group}.stamp"


def pip(*arguments: str | Path, doing: str) -> None:
    """Run the environment's pip with the machine's own pip settings and show its progress. Raises Problem."""
    PIP_LOG.unlink(missing_ok=True)
    status = run([PYTHON, "-m", "pip", "--disable-pip-version-check", "--log", PIP_LOG, *arguments])
    if status != 0:
        log = PIP_LOG.read_text(encoding="utf-8", errors="replace") if PIP_LOG.is_file() else ""
        raise Problem(f"pip could not {doing}. {explain(log)}\npip's log: {PIP_LOG}")


# Traces of a failure in pip's log, the surest first, and the advice for each.
CAUSES = (
    (
        r"No space left on device|\[Errno 28\]|not enough space on the disk",
        "The disk is full: make room here and in the temporary folder (TMPDIR moves it), and run again.",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "The download is not the pinned file: its SHA-256 differs. Nothing was installed. Try another "
        "package mirror, or report it.",
    ),
    (
        r"Failed to establish a new connection|Temporary failure in name resolution|getaddrinfo failed"
        r"|Network is unreachable|ConnectTimeoutError|ReadTimeoutError|ProxyError|RemoteDisconnected",
        "The package index cannot be reached: check the network, or pip's settings for a proxy or a mirror, "
        "and run again. What is already there stays.",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "There is no build of {what} for this Python and machine; expected Python 3.10 to 3.13 on Linux, "
        "Windows or macOS (Apple silicon).",
    ),
)


def explain(log: str) -> str:
    """Why a pip run failed, in plain words, from its log."""
    for pattern, advice in CAUSES:
        if found := re.search(pattern, log):
            return advice.format(**found.groupdict())
    errors = re.findall(r"ERROR: (.+)", log)
    return errors[-1].strip() if errors else "pip gave no reason."


def _check_machine() -> None:
    """Check Python version and disk space before anything large is downloaded. Raises Problem."""
    check_python(sys.version_info[:2])
    if VENV.exists():
        return
    large = platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64")  # CUDA comes along
    here, temporary = ROOT, Path(tempfile.gettempdir())
    check_space(here, shutil.disk_usage(here).free, 10 if large else 3)
    if os.stat(here).st_dev != os.stat(temporary).st_dev:
        check_space(temporary, shutil.disk_usage(temporary).free, 4 if large else 1)


def check_python(version: tuple[int, int]) -> None:
    """Raise Problem for a Python older than 3.10; one newer than 3.13 gets a notice."""
    name = ".".join(str(part) for part in version)
    if version < (3, 10):
        raise Problem(f"got Python {name}, expected 3.10 to 3.13: run quickstart.py with a newer Python.")
    if version > (3, 13):
        print(f"Python {name} has not been tested; 3.10 to 3.13 are known to work.", flush=True)


def check_space(folder: Path, free: int, needed_gib: int) -> None:
    """Raise Problem if `free` bytes at `folder` are less than `needed_gib`."""
    if free < needed_gib * GIB:
        raise Problem(
            f"got {free / GIB:.1f} GiB of free space at {folder}, expected {needed_gib} GiB for PyTorch and "
            "ComfyUI: make room, or put the repository on another disk."
        )


def _make_venv() -> None:
    """Make the environment, unless it is there and its pip works. Raises Problem."""
    if _pip_answers():
        return
    print(f"Making {VENV}", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode != 0 or not _pip_answers():
        said = (made.stdout + made.stderr).strip().splitlines()
        raise Problem(
            f"{sys.executable} cannot make a virtual environment in {VENV}: {' '.join(said[-3:])}\n"
            "On Debian and Ubuntu: apt install python3-venv. If the folder is left from another Python or "
            "place, remove it and run again."
        )


def _pip_answers() -> bool:
    if not PYTHON.exists():
        return False
    try:
        return subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False
