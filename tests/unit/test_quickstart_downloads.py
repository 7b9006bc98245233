"""The front door's downloads: pinned, checked, unpacked into their own folder and nowhere else."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from frontdoor import archives, environment, hosts
from frontdoor.hosts import Pin
from frontdoor.paths import REQUIREMENTS, ROOT
from frontdoor.problem import Problem
from tests.support.wheels import make_wheel


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder of packages that is pip's only source, and an empty .hosts."""
    monkeypatch.setattr(hosts, "HOSTS", tmp_path / "hosts")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "store"))
    (tmp_path / "hosts").mkdir()
    return tmp_path / "store"


def test_a_pinned_folder_is_fetched_once(store, tmp_path):
    digest = make_wheel(
        store, {"inner/tree/main.py": "print()", "inner/tree/a/b.txt": "b", "inner/other.py": ""}
    )
    lock = tmp_path / "lock.txt"
    lock.write_text(f"carrier==1.0 --hash=sha256:{digest}\n")
    destination = tmp_path / "hosts" / "1.0"
    pin = Pin(lock, "inner/tree")
    hosts.fetch(pin, destination, "the carrier")
    found = {file.relative_to(destination).as_posix() for file in destination.rglob("*") if file.is_file()}
    assert found == {"main.py", "a/b.txt"}
    assert {entry.name for entry in (tmp_path / "hosts").iterdir()} == {
        "1.0",
        "1.0.stamp",
        "1.0.files",
        "set-up.lock",
        "pip.log",
    }

    (store / "carrier-1.0-py3-none-any.whl").unlink()
    hosts.fetch(pin, destination, "the carrier")  # nothing to download
    lock.write_text(lock.read_text() + "# a new pin\n")
    with pytest.raises(Problem, match="pip could not fetch the carrier"):
        hosts.fetch(pin, destination, "the carrier")
    assert (destination / "main.py").exists()


def test_a_file_with_another_hash_is_refused(store, tmp_path):
    make_wheel(store, {"inner/tree/main.py": "print()"})
    lock = tmp_path / "lock.txt"
    lock.write_text(f"carrier==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Problem, match="not the pinned file: its SHA-256 differs"):
        hosts.fetch(Pin(lock, "inner/tree"), tmp_path / "hosts" / "1.0", "the carrier")
    assert not (tmp_path / "hosts" / "1.0").exists()


def make_tar(path: Path, entries: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for entry in entries:
            entry.size = 1 if entry.isreg() else 0
            opened.addfile(entry, io.BytesIO(b"x"))
    return path


def make_zip(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name in names:
            opened.writestr(name, "x")
    return path


@pytest.mark.parametrize(
    "name", ["pack/tree/../../out", "pack/tree/..", "pack/tree/..\\out", "pack/tree/C:/out"]
)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    bad = [
        make_zip(tmp_path / "bad.whl", [name]),
        make_tar(tmp_path / "bad.tar.gz", [tarfile.TarInfo(name)]),
    ]
    for archive in bad:
        with pytest.raises(Problem, match="leads out of its folder"):
            archives.unpack_folder(archive, "pack/tree", tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == sorted(bad)


def test_links_and_other_folders_are_left_out(tmp_path):
    link, hard = tarfile.TarInfo("pack/tree/link"), tarfile.TarInfo("pack/tree/hard")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    names = ["pack/tree/a.txt", "/pack/tree/b.txt", "pack/treetop/c.txt", "/etc/d.txt"]
    archive = make_tar(tmp_path / "x.tar.gz", [link, hard, *map(tarfile.TarInfo, names)])
    assert archives.unpack_folder(archive, "pack/tree", tmp_path / "new") == 1
    assert [file.name for file in (tmp_path / "new").rglob("*")] == ["a.txt"]


def test_an_archive_without_the_folder_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x.whl", ["pack/other/a.txt"])
    with pytest.raises(Problem, match=r"got no folder pack/tree in x\.whl"):
        archives.unpack_folder(archive, "pack/tree", tmp_path / "new")


def test_every_installed_package_has_one_exact_version():
    def names(file: Path) -> list[str]:
        lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
        return [line for line in lines if line and not line.startswith("-")]

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    pins = names(environment.LOCK)
    assert all(
        re.fullmatch(r'[\w.-]+==[\w.]+( ; (python_version|platform_machine) \S+ "\S+")?', p) for p in pins
    )
    pinned = {normal(pin.split("==")[0]) for pin in pins}
    for file in (REQUIREMENTS / "run.txt", REQUIREMENTS / "test.txt", ROOT / "training" / "requirements.txt"):
        assert {normal(name) for name in names(file)} <= pinned
        assert "lock.txt" in file.read_text()
