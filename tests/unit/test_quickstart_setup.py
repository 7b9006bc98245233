"""Setting up twice at once, kills in the middle and files lost since: the next run ends with all files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frontdoor import environment, hosts, locks, packages, stamps, trees
from frontdoor.hosts import Pin
from frontdoor.paths import ROOT
from frontdoor.problem import Problem
from tests.support.wheels import make_wheel

posix = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL or a shell script")
FILES = {f"inner/tree/part{n % 7}/file{n}.py": f"print({n})\n" * n for n in range(60)}
SET_UP = """
import os, signal, sys
from pathlib import Path
from frontdoor import hosts, stamps, trees
base, place, name = Path(sys.argv[1]), *sys.argv[2:]
hosts.HOSTS = base / "hosts"
if place:
    owner = {"hosts": hosts, "stamps": stamps, "trees": trees}[place]
    def killed(*arguments, real=getattr(owner, name)):
        real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, killed)
hosts.fetch(hosts.Pin(base / "lock.txt", "inner/tree"), base / "hosts" / "1.0", "the carrier")
"""


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """A package of some files that is pip's only source, its lock, and an empty folder of hosts."""
    digest = make_wheel(tmp_path / "store", FILES)
    (tmp_path / "lock.txt").write_text(f"carrier==1.0 --hash=sha256:{digest}\n")
    (tmp_path / "hosts").mkdir()
    monkeypatch.setattr(hosts, "HOSTS", tmp_path / "hosts")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "store"))
    return tmp_path


def set_up(base: Path, place: str = "", name: str = "") -> subprocess.Popen[str]:
    """A set-up in a process of its own, which kills itself after the function `place.name`."""
    command = [sys.executable, "-c", SET_UP, str(base), place, name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def quick(base, monkeypatch) -> Path:
    """`base` without pip in this process: the package is copied."""

    def copy(*arguments: str | Path, **_: object) -> None:
        shutil.copytree(base / "store", arguments[arguments.index("--dest") + 1])

    monkeypatch.setattr(environment, "pip", copy)
    return base


def fetch(base: Path) -> None:
    hosts.fetch(Pin(base / "lock.txt", "inner/tree"), base / "hosts" / "1.0", "the carrier")


def is_whole(base: Path) -> bool:
    tree = base / "hosts" / "1.0"
    found = {f"inner/tree/{f.relative_to(tree).as_posix()}": f.read_text() for f in tree.rglob("*.py")}
    return found == FILES and not list((base / "hosts").glob("work*"))


# ComfyUI


def test_one_of_two_set_ups_waits_for_the_other(base):
    both = [set_up(base), set_up(base)]
    told = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert is_whole(base)
    assert sum("Fetching the carrier" in text for text in told) == 1
    assert sum("Another quickstart is setting up ComfyUI" in text for text in told) == 1


@posix
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("hosts", "unpack_folder"),
        ("trees", "remove"),
        ("trees", "write_list"),
        ("stamps", "write"),
    ],
)
def test_a_killed_set_up_is_finished_by_the_next(quick, place, name):
    killed = set_up(quick, place, name)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    fetch(quick)
    assert is_whole(quick)


@posix
def test_a_killed_set_up_takes_its_pip_along_and_lets_the_next_one_in(base):
    killed = set_up(base)
    end = time.monotonic() + 30
    while not list((base / "hosts").glob("pip.out")):
        assert time.monotonic() < end
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=30)
    fetch(base)
    assert is_whole(base)


def cut(file: Path) -> None:
    file.write_text(file.read_text()[:-1])


@pytest.mark.parametrize(
    "harm",
    [
        lambda tree: (tree / "part3" / "file3.py").unlink(),
        lambda tree: cut(tree / "part3" / "file3.py"),
        lambda tree: (tree / "part3" / "file3.py").write_text("print(4)\n" * 3),  # of the same size
        lambda tree: (tree / "part3" / "file3.py").write_text(""),
        lambda tree: shutil.rmtree(tree / "part3"),
        lambda tree: (shutil.rmtree(tree), tree.mkdir()),
        lambda tree: (shutil.rmtree(tree), tree.write_text("a file in its place")),
        lambda tree: cut(tree.with_name("1.0.files")),
        lambda tree: tree.with_name("1.0.files").write_bytes(b"\xff\x00"),
        lambda tree: tree.with_name("1.0.stamp").write_text(""),
    ],
    ids=["missing", "cut", "changed", "empty", "folder", "all", "file", "cut list", "bytes", "stamp"],
)
def test_what_was_harmed_is_mended(quick, harm):
    fetch(quick)
    harm(quick / "hosts" / "1.0")
    fetch(quick)
    assert is_whole(quick)


def test_other_files_in_the_folder_do_not_count(quick, capsys):
    fetch(quick)
    capsys.readouterr()
    for name in ("own.txt", "part3/__pycache__/file3.pyc"):
        (quick / "hosts" / "1.0" / name).parent.mkdir(exist_ok=True)
        (quick / "hosts" / "1.0" / name).write_text("x")
    fetch(quick)
    assert capsys.readouterr().out == ""
    assert (quick / "hosts" / "1.0" / "own.txt").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_what_an_older_quickstart_unpacked_is_kept_if_it_is_whole(quick, capsys, whole):
    fetch(quick)
    tree = quick / "hosts" / "1.0"
    pin = Pin(quick / "lock.txt", "inner/tree", tree=trees.digest(trees.listing(tree)))
    tree.with_name("1.0.files").unlink()
    if not whole:
        (tree / "part3" / "file3.py").unlink()
    capsys.readouterr()
    for _ in range(2):
        hosts.fetch(pin, tree, "the carrier")
    assert capsys.readouterr().out.count("Fetching") == (0 if whole else 1)
    assert is_whole(quick)


def test_the_words_of_pip_go_to_a_log_and_their_end_is_shown(base, capfd):
    (base / "store" / "carrier-1.0-py3-none-any.whl").unlink()
    with pytest.raises(Problem, match=r"(?s)no build of carrier==1\.0.*\n  ERROR: No matching.*pip\.log"):
        fetch(base)
    told = capfd.readouterr()
    assert told.out.count("\n") == 1
    assert told.err == ""


# Python packages


@pytest.fixture
def venv(tmp_path, monkeypatch) -> Path:
    """An environment with einops 0.8.2 and yarl 1.25.1 in it; its Python notes what it is asked."""
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name, version in (("einops", "0.8.2"), ("yarl", "1.25.1")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("x = 1\n")
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(
            f'{name}/__init__.py,sha256=x,6\n{name}/__pycache__/a.pyc,,\n"{info.name}/RECORD",,\n'
        )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nsleep 0.5\necho "$@" >> "{tmp_path}/asked"\n')
    python.chmod(0o755)
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    monkeypatch.setattr(environment, "PYTHON", python)
    monkeypatch.setattr(environment, "SET_UP_LOCK", tmp_path / "environment.lock")
    for group, files in environment.GROUPS.items():
        stamps.write(environment.stamp_of(group), stamps.fingerprint(files))
    return tmp_path


def installs(venv: Path) -> list[str]:
    """What pip was asked to install."""
    return [line for line in (venv / "asked").read_text().splitlines() if "install" in line]


@posix
@pytest.mark.parametrize(
    "harm",
    [
        lambda site: (site / "einops" / "__init__.py").unlink(),
        lambda site: (site / "einops" / "__init__.py").write_text(""),
        lambda site: (site / "einops-0.8.2.dist-info" / "RECORD").unlink(),  # pip was killed
        lambda site: (site / "einops-0.8.2.dist-info" / "RECORD").write_text(""),
        lambda site: (site / "einops-0.8.2.dist-info" / "RECORD").write_text("a\n"),
        lambda site: shutil.rmtree(site / "einops-0.8.2.dist-info"),
    ],
    ids=["missing", "empty", "no list", "empty list", "broken list", "gone"],
)
def test_a_package_that_lost_files_is_installed_again(venv, harm):
    environment.ensure("run", "test")  # notes what is there
    assert not (venv / "asked").exists()
    harm(packages.site_of(venv / "venv"))
    environment.ensure("run", "test")
    (asked,) = installs(venv)
    assert asked.endswith("install --ignore-installed --no-deps einops==0.8.2")


@posix
def test_a_package_whose_own_list_is_wrong_is_installed_again_once(venv):
    (venv / "venv/lib/python3.11/site-packages/einops/__init__.py").write_text("")
    for _ in range(3):
        environment.ensure("run", "test")
    assert len(installs(venv)) == 1
    noted = json.loads((venv / "venv" / environment.NOTE).read_text())
    assert noted == {"einops": environment.ODD, "yarl": "1.25.1"}


@posix
def test_an_environment_whose_python_is_gone_counts_as_none(venv, monkeypatch):
    environment.ensure("run", "test")
    away = (venv / "python").rename(venv / "away")
    monkeypatch.setattr(environment, "_make_venv", lambda: shutil.copy2(away, venv / "python"))
    environment.ensure("run", "test")
    assert any("run.txt" in line for line in installs(venv))


def test_the_folder_of_packages_is_that_of_the_environments_python(tmp_path):
    for version in ("3.11", "3.12", "3.9"):
        (tmp_path / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nversion = 3.12.4\n")
    assert packages.site_of(tmp_path) == tmp_path / "lib" / "python3.12" / "site-packages"


@posix
def test_one_of_two_environments_waits_for_the_other(venv):
    environment.stamp_of("test").unlink()
    script = (
        "import sys; from pathlib import Path; from frontdoor import environment as e; b = Path(sys.argv[1]);"
        "e.VENV, e.PYTHON, e.SET_UP_LOCK = b / 'venv', b / 'python', b / 'environment.lock';"
        "e.ensure('run', 'test')"
    )
    command = [sys.executable, "-c", script, str(venv)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Installing Python packages (test)" in text for text in told) == 1
    assert sum("Another quickstart is installing Python packages" in text for text in told) == 1
    assert sum("install -r" in line for line in installs(venv)) == 1


def test_a_lock_is_let_go_of_by_an_error(tmp_path, capsys):
    for _ in range(2):
        with pytest.raises(Problem), locks.alone(tmp_path / "a" / "lock", "testing"):
            raise Problem
    assert capsys.readouterr().out == ""
