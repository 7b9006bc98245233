"""The Python environment in .venv/: one for both hosts, the tests and the training."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from . import packages, stamps
from .locks import alone
from .paths import HOSTS, PYTHON, REQUIREMENTS, ROOT, VENV
from .problem import Problem
from .processes import run_leashed
from .progress import last_lines

LOCK = REQUIREMENTS / "lock.txt"
AUDIO = REQUIREMENTS / "torchaudio.txt"
# What each group is made from; all of it is in the group's stamp.
GROUPS = {
    "run": (REQUIREMENTS / "run.txt", AUDIO, LOCK),
    "test": (REQUIREMENTS / "test.txt", ROOT / "training" / "requirements.txt", LOCK),
}
SET_UP_LOCK = HOSTS / "environment.lock"  # not in .venv, which may be made anew
NOTE = "quickstart-packages.json"  # name -> version, or ODD: its own list of files is wrong
ODD = "odd"
GIB = 2**30


def ensure(*groups: str) -> None:
    """Install the packages of `groups` (keys of GROUPS) that are not up to date or whole. Raises Problem.

    One process at a time; another that waited finds the work done.
    """
    if PYTHON.exists() and not outdated(*groups) and not lost():
        if not (VENV / NOTE).is_file():  # made by an older quickstart
            with suppress(OSError):  # an environment that may only be read is as good
                _note()
        return
    with alone(SET_UP_LOCK, f"installing Python packages into {VENV}"):
        if not PYTHON.exists():  # deleted, or made with a Python that is gone: nothing in it counts
            for left in (*map(stamp_of, GROUPS), VENV / NOTE):
                left.unlink(missing_ok=True)
        for group in outdated(*groups):
            _check_machine()
            _make_venv()
            if (site := packages.site_of(VENV)) is not None:
                packages.drop_unfinished(site)
            print(f"Installing Python packages ({group}) into {VENV}", flush=True)
            pip("install", "-r", GROUPS[group][0], doing="install the Python packages")
            if AUDIO in GROUPS[group]:
                pip("install", "--no-deps", "-r", AUDIO, doing="install torchaudio")
            _mend()
            stamps.write(stamp_of(group), stamps.fingerprint(GROUPS[group]))
        _mend()


def lost() -> list[str]:
    """name==version of installed packages that have lost files since, or went away."""
    site, noted = packages.site_of(VENV), _noted()
    if site is None:
        return [f"{name}=={version}" for name, version in noted.items()]
    now = packages.installed(site)
    names = packages.pinned(LOCK) | packages.pinned(AUDIO)
    broken = packages.damaged(site, names) - {name for name, version in noted.items() if version == ODD}
    gone = {name for name, version in noted.items() if version != ODD and name not in now}
    return sorted(f"{name}=={now.get(name) or noted[name]}" for name in broken | gone)


def _mend() -> None:
    """Install anew what a killed pip left half done, or what was deleted since, and note what is there."""
    if found := lost():
        print(f"Files are missing or changed, installing again: {', '.join(found)}", flush=True)
        _make_venv()  # pip may be what was lost
        # Not uninstalled first: that needs the list of files, which may be what is missing.
        pip("install", "--ignore-installed", "--no-deps", *found, doing="mend the Python packages")
    _note()


def _note() -> None:
    site = packages.site_of(VENV)
    if site is None:
        return
    names = packages.pinned(LOCK) | packages.pinned(AUDIO)
    now = {name: version for name, version in packages.installed(site).items() if name in names}
    # A package whose own list is wrong would be installed again for ever.
    odd = dict.fromkeys(packages.damaged(site, names), ODD)
    (VENV / NOTE).write_text(json.dumps({**now, **odd}, indent=0), encoding="utf-8")


def _noted() -> dict[str, str]:
    """Name -> version of the packages that the last set-up left; none if that was an older quickstart's."""
    try:
        noted = json.loads((VENV / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in noted.items()} if isinstance(noted, dict) else {}


def outdated(*groups: str) -> list[str]:
    """Those of `groups` that were never installed, or from other lock files."""
    return [g for g in groups if not stamps.is_current(stamp_of(g), stamps.fingerprint(GROUPS[g]))]


def stamp_of(group: str) -> Path:
    """The stamp of a group of packages."""
    return VENV / f"quickstart-{group}.stamp"


def pip(*arguments: str | Path, doing: str, log: Path | None = None) -> None:
    """Run the environment's pip with the machine's own pip settings; what it says goes to `log`.

    Raises Problem with the end of what it said.
    """
    log = log or VENV / "quickstart-pip.log"
    said = log.with_suffix(".out")
    log.unlink(missing_ok=True)
    options = ("--disable-pip-version-check", "--no-input", "--log", log)
    status = run_leashed(PYTHON, ["-m", "pip", *options, *arguments], log=said)
    tail = "".join(f"\n  {line}" for line in last_lines(said, 8))
    said.unlink(missing_ok=True)
    if status != 0:
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        raise Problem(
            f"pip could not {doing}. {explain(text)}\nThe end of what it said:{tail}\npip's log: {log}"
        )


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
    if PYTHON.exists():
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
    status, said = _run_venv()
    site = packages.site_of(VENV)
    if not _pip_answers() and (site is None or set(packages.installed(site)) <= {"pip", "setuptools"}):
        status, said = _run_venv("--clear")  # a set-up that was cut off left half of it, and nothing else
    if status != 0 or not _pip_answers():
        raise Problem(
            f"{sys.executable} cannot make a virtual environment in {VENV}: {' '.join(said)}\n"
            "On Debian and Ubuntu: apt install python3-venv. If the folder is left from another Python or "
            "place, remove it and run again."
        )


def _run_venv(*options: str) -> tuple[int, list[str]]:
    """Exit status and last words of Python's venv."""
    log = SET_UP_LOCK.with_name("venv.log")
    status = run_leashed(Path(sys.executable), ["-m", "venv", *options, VENV], log=log)
    return status, last_lines(log, 3)


def _pip_answers() -> bool:
    if not PYTHON.exists():
        return False
    try:
        return subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False
