"""The front door: stamps, the machine, own checkouts, error messages and the closing line of a test run."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from frontdoor import clips, commands, demo, environment, hosts, processes, server, stamps, suite
from frontdoor.paths import ROOT
from frontdoor.problem import Problem
from frontdoor.suite import Part, Tally

# Stamps


def test_a_stamp_follows_the_lock_files(tmp_path):
    lock, stamp = tmp_path / "lock.txt", tmp_path / "stamp"
    lock.write_bytes(b"a==1\nb==2\n")
    mark = stamps.fingerprint([lock])
    assert not stamps.is_current(stamp, mark)
    stamps.write(stamp, mark)
    assert stamps.is_current(stamp, mark)
    lock.write_bytes(b"a==1\r\nb==2\r\n")  # as git may write it on Windows
    assert stamps.is_current(stamp, stamps.fingerprint([lock]))
    lock.write_bytes(b"a==1\nb==3\n")
    assert not stamps.is_current(stamp, stamps.fingerprint([lock]))


def test_a_line_moved_to_the_next_lock_file_counts(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("a\nb\n")
    second.write_text("c\n")
    before = stamps.fingerprint([first, second])
    first.write_text("a\n")
    second.write_text("b\nc\n")
    assert stamps.fingerprint([first, second]) != before


def test_a_second_set_up_installs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path)
    assert environment.outdated("run", "test") == ["run", "test"]
    for group, files in environment.GROUPS.items():
        stamps.write(environment.stamp_of(group), stamps.fingerprint(files))
    assert environment.outdated("run", "test") == []
    stamps.write(environment.stamp_of("test"), "from other lock files")
    assert environment.outdated("run", "test") == ["test"]


@pytest.mark.skipif(os.name == "nt", reason="no shell script can stand in for Python there")
def test_what_is_outdated_is_installed_and_stamped(tmp_path, monkeypatch):
    log = tmp_path / "log"
    python = tmp_path / "python"  # stands in for the environment's: notes what it is asked to do
    python.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "PYTHON", python)
    monkeypatch.setattr(environment, "SET_UP_LOCK", tmp_path / "lock")
    environment.ensure("run", "test")
    asked = log.read_text()
    assert f"install -r {environment.GROUPS['run'][0]}" in asked
    assert f"install -r {environment.GROUPS['test'][0]}" in asked
    assert environment.outdated("run", "test") == []
    log.write_text("")
    environment.ensure("run", "test")
    assert log.read_text() == ""


# The machine


def test_old_python_is_refused_and_new_python_is_told(capsys):
    with pytest.raises(Problem, match=r"got Python 3\.9, expected 3\.10 to 3\.13"):
        environment.check_python((3, 9))
    for version in ((3, 10), (3, 13)):
        environment.check_python(version)
    assert capsys.readouterr().out == ""
    environment.check_python((3, 14))
    assert "3.14 has not been tested" in capsys.readouterr().out


def test_a_full_disk_is_told_with_both_numbers(tmp_path):
    environment.check_space(tmp_path, 10 * environment.GIB, 10)
    with pytest.raises(Problem, match=r"got 1\.5 GiB of free space at .*, expected 10 GiB"):
        environment.check_space(tmp_path, 3 * environment.GIB // 2, 10)


def test_no_network_is_told(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/"  # nothing listens there
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Problem, match=r"pip could not fetch it\. The package index cannot be reached"):
        environment.pip("download", "animatelcm-no-such-package", "--dest", tmp_path, doing="fetch it")


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        (
            "ERROR: No matching distribution found for torch==2.14.1",
            r"no build of torch==2\.14\.1 for this Python",
        ),
        ("x\nERROR: something else\ny", "^something else$"),
        ("", "no reason"),
    ],
)
def test_other_causes_are_told(log, told):
    assert re.search(told, environment.explain(log))


# ComfyUI of the user's own


def make_checkout(folder: Path, version: str) -> Path:
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text(f'# generated\n__version__ = "{version}"\n')
    return folder


@pytest.mark.parametrize("version", ["0.3.75", "0.8.0", "0.30.0"])
def test_an_own_checkout_is_taken(tmp_path, capsys, version):
    host = hosts.checkout(make_checkout(tmp_path / "ComfyUI", version))
    assert (host.version, host.path) == (version, tmp_path / "ComfyUI")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("version", ["0.3.9", "0.3.74", "0.30.1", "1.0.0"])
def test_an_untried_version_is_told(tmp_path, capsys, version):
    assert hosts.checkout(make_checkout(tmp_path / "ComfyUI", version)).version == version
    assert f"ComfyUI {version} has not been tested; 0.3.75 to 0.30.0" in capsys.readouterr().out


def test_a_folder_that_is_no_comfyui_is_told_before_anything_is_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    (tmp_path / "main.py").touch()
    assert commands.main(["demo", "--comfyui", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"got {tmp_path} for ComfyUI, which has no nodes.py, comfyui_version.py, comfy" in told
    assert "Traceback" not in told
    assert not (tmp_path / "venv").exists()


def test_a_version_file_without_version_is_told(tmp_path):
    folder = make_checkout(tmp_path / "ComfyUI", "0.30.0")
    (folder / "comfyui_version.py").write_text("version = None\n")
    with pytest.raises(Problem, match=r"comfyui_version\.py without a version"):
        hosts.checkout(folder)


# The pack among the custom nodes


def test_the_pack_is_linked_and_replaced(tmp_path):
    for _ in range(2):
        assert (server.place_pack(tmp_path) / "nodes" / "__init__.py").samefile(
            ROOT / "nodes" / "__init__.py"
        )


def test_a_copy_of_the_pack_has_what_the_host_needs(tmp_path):
    server.copy_pack(tmp_path / "pack")
    for name in ("__init__.py", "pyproject.toml", "nodes/__init__.py", "animatelcm_core/schedule.py", "demo"):
        assert (tmp_path / "pack" / name).exists()
    assert not list((tmp_path / "pack").rglob("__pycache__"))


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def started(request, monkeypatch):
    """Processes that were started, each with a signal that comes when it is there but nobody has it yet."""
    if os.name == "nt":
        pytest.skip("a signal that a process sends itself ends it at once there")
    children: list[subprocess.Popen] = []

    def interrupted(*arguments, real=subprocess.Popen, **options):
        children.append(real(*arguments, **options))
        signal.raise_signal(request.param)
        return children[0]

    def end(number, _frame):
        raise SystemExit(128 + number)

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(request.param, end)
    try:
        yield children
        assert signal.getsignal(request.param) is end
    finally:
        signal.signal(request.param, before)


def test_an_interrupt_while_the_server_starts_leaves_none(tmp_path, started):
    host = hosts.Host("0.0.0", tmp_path, None)
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "cli_args.py").touch()
    (tmp_path / "main.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(SystemExit), server.Server(host, tmp_path, python=Path(sys.executable)):
        pytest.fail("the server was entered")
    assert started[0].poll() is not None


def test_an_interrupt_while_a_command_starts_leaves_none(started):
    with pytest.raises(SystemExit):
        processes.run([sys.executable, "-c", "import time; time.sleep(60)"])
    assert started[0].poll() is not None


# The test run

MIXED = """
import pytest
def test_pass(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_fail(n): assert n == 0
@pytest.mark.skip
def test_skip(): pass
@pytest.fixture
def broken(): raise OSError
def test_error(broken): pass
@pytest.mark.xfail
def test_expected(): assert False
"""


def outcome(tmp_path: Path, source: str, *arguments: str) -> Tally:
    """What the suite makes of a pytest run over this source."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_it.py").write_text(source)
    return suite.run_part(Part("a part", str(folder)), arguments)


def test_tests_are_counted(tmp_path):
    assert outcome(tmp_path, MIXED) == Tally(passed=1, failed=3, skipped=2)


@pytest.mark.parametrize(
    "source",
    ["import os; os._exit(3)", "import no_such_module", "", "def test_it(: pass"],
    ids=["crash", "import", "nothing", "syntax"],
)
def test_a_run_that_breaks_is_a_failure(tmp_path, source):
    assert outcome(tmp_path, source) == Tally(failed=1)


def test_a_selection_may_be_empty_in_one_part(tmp_path):
    assert outcome(tmp_path, "def test_it(): pass", "-k", "other") == Tally()


def test_a_wrong_option_is_a_failure(tmp_path):
    assert outcome(tmp_path, "def test_it(): pass", "--no-such-option") == Tally(failed=1)


def test_a_part_has_options_of_its_own_which_the_command_line_overrides(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_x1(): 0\ndef test_x2(): 0\ndef test_x3(): assert 0\n")
    part = Part("a part", str(tmp_path), options=("-k", "x1"))
    assert suite.run_part(part, []) == Tally(passed=1)
    assert suite.run_part(part, ["-k", "x1 or x2"]) == Tally(passed=2)


def test_a_check_counts_as_one(tmp_path):
    python = str(suite.PYTHON)
    assert suite.run_part(Part("good", command=(python, "-c", "")), []) == Tally(passed=1)
    assert suite.run_part(Part("bad", command=(python, "-c", "raise SystemExit(2)")), []) == Tally(failed=1)


def test_the_closing_line_is_the_sum():
    assert str(Tally(3, 0, 1) + Tally(passed=4, failed=2)) == "7 passed, 2 failed, 1 skipped"


def test_arguments_after_two_dashes_are_passed_on():
    given = ["test", "--fast", "--", "-k", "a", "--", "b"]
    assert commands.split(given) == (["test", "--fast"], ["-k", "a", "--", "b"])
    assert commands.split(["demo"]) == (["demo"], [])


def test_an_unknown_benchmark_is_told(capsys):
    assert commands.main(["bench", "no-such"]) == 1
    assert "got no benchmark 'no-such', expected one of:" in capsys.readouterr().err


# The demo's files


def test_file_names_come_from_prompt_and_seed():
    assert clips.file_name("A red fish, swimming left!", 7) == "a-red-fish-swimming-left-seed7"
    assert re.fullmatch(r"clip-[0-9a-f]{8}-seed7", clips.file_name("../..", 7))
    assert len(clips.file_name("fish " * 99, 7)) < 80


def test_the_contact_sheet_shows_the_frames_in_reading_order():
    frames = [Image.new("RGB", (64, 64), (15 * index, 0, 0)) for index in range(16)]
    sheet = demo.contact_sheet(frames)
    step = demo.TILE + demo.GAP
    assert sheet.size == (4 * step + demo.GAP, 4 * step + demo.GAP)
    centres = [(x * step + step // 2, y * step + step // 2) for y in range(4) for x in range(4)]
    assert [sheet.getpixel(centre) for centre in centres] == [(15 * index, 0, 0) for index in range(16)]
