"""The front door's edges: names of clips, folders, paths and ports tried first, leashes, and the last net."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from frontdoor import clips, commands, environment, processes, progress, server
from frontdoor.paths import ROOT
from frontdoor.problem import Problem

posix = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
SHEET = Image.new("RGB", (8, 8))


# Clips

PROMPTS = (
    "\u65e5\u672c\u8a9e",
    "\u4e2d\u6587",
    "\U0001f41f",
    "\U0001f980",
    "",
    " ",
    "...",
    "../..",
    "a r\u00e9d fish",
    "a r\u00ead fish",
    "a red fish",
    "A red fish",
    "a red fish!",
    "a\nred fish",
    "a-red-fish",
    "fish " * 30,
    "fish " * 31,
    "x" * 60,
    "x" * 61,
    "x" * 10**5,
    "con",
    "\udcff",
    "\x00",
)


def test_no_clip_takes_the_place_of_another(tmp_path):
    made = {}
    for seed in (1, 2):
        for prompt in PROMPTS:
            clip, _ = clips.save(tmp_path, prompt, seed, f"{prompt!r} {seed}".encode(), SHEET)
            made[prompt, seed] = clip
    assert len({str(clip).lower() for clip in made.values()}) == 2 * len(PROMPTS)
    for (prompt, seed), clip in made.items():
        assert clip.read_bytes() == f"{prompt!r} {seed}".encode()
        assert clip.name.isascii()
        assert len(clip.name) < 110
    assert {file.suffix for file in tmp_path.iterdir()} == {".mp4", ".png"}


def test_the_same_clip_made_again_takes_its_own_place(tmp_path):
    for prompt in PROMPTS:
        first = clips.save(tmp_path, prompt, 1, b"1", SHEET)
        assert clips.save(tmp_path, prompt, 1, b"2", SHEET) == first
    assert len(list(tmp_path.iterdir())) == 2 * len(PROMPTS)


def test_plain_prompts_keep_their_readable_names(tmp_path):
    clip, sheet = clips.save(tmp_path, "A blue crab, moving up!", 5, b"", SHEET)
    assert (clip.name, sheet.name) == ("a-blue-crab-moving-up-seed5.mp4", "a-blue-crab-moving-up-seed5.png")


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_a_file_of_unknown_origin_is_not_overwritten(tmp_path, kind):
    old = tmp_path / f"fish-seed1.{kind}"
    old.write_bytes(b"mine")
    clip, _ = clips.save(tmp_path, "fish", 1, b"new", SHEET)
    assert old.read_bytes() == b"mine"
    assert clip.read_bytes() == b"new"


# Tried before the work


@pytest.fixture
def no_work(monkeypatch):
    """Fails when anything is set up."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    for name in ("ensure", "pip"):
        monkeypatch.setattr(environment, name, work)
    monkeypatch.setattr(commands, "gpu_usable", work)
    monkeypatch.setattr(commands, "install_demo_model", work)


def told_by(capsys, *arguments: str) -> str:
    """What a command that must fail says."""
    assert commands.main(arguments) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "unforeseen" not in told
    return told


def test_an_output_folder_that_is_a_file_is_told_first(tmp_path, capsys, no_work):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        told = told_by(capsys, "demo", "--output", str(output))
        assert f"got {output} for the clips, which cannot be made or written to" in told


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_may_not_be_written_is_told_first(tmp_path, capsys, no_work):
    tmp_path.chmod(0o500)
    assert "cannot be made or written to" in told_by(capsys, "demo", "--output", str(tmp_path))


@pytest.mark.parametrize("option", ["--comfyui", "--output"])
@pytest.mark.parametrize("path", ["~nobody-at-all/x", "circle/x", "x" * 5000, "zero\0byte", "a\udcffb/\n"])
def test_odd_paths_are_told(tmp_path, monkeypatch, capsys, no_work, option, path):
    monkeypatch.chdir(tmp_path)
    if os.name != "nt":
        Path("circle").symlink_to("circle")
    if option == "--output" and path.startswith("a"):
        pytest.skip("a fine name on Linux")
    told_by(capsys, "demo", option, path)


def test_a_version_of_a_thousand_digits_or_of_bytes_is_told(tmp_path, capsys, no_work):
    (tmp_path / "comfy").mkdir()
    for name in ("main.py", "nodes.py"):
        (tmp_path / name).touch()
    for version in (b"__version__ = '" + b"9" * 5000 + b"'", b"\xff\xfe", b"__version__ = '\xd9\xa3.1'"):
        (tmp_path / "comfyui_version.py").write_bytes(version)
        assert "without a version" in told_by(capsys, "demo", "--comfyui", str(tmp_path))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_told_before_the_work(capsys, no_work, address):
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} is taken" in told_by(capsys, "serve", "--port", str(port))


@posix
def test_a_port_that_another_has_bound_is_told(capsys, no_work):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # and does not listen yet
        port = other.getsockname()[1]
        assert f"port {port} cannot be used" in told_by(capsys, "serve", "--port", str(port))


def test_models_that_are_there_are_left_alone(tmp_path):
    server.make_base(tmp_path)
    server.install_demo_model(tmp_path)
    model = tmp_path / "models" / "loras" / "shapes_lcm_lora.safetensors"
    before = model.stat()
    server.install_demo_model(tmp_path)
    assert (model.stat().st_ino, model.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    model.write_bytes(b"cut")
    server.install_demo_model(tmp_path)
    assert model.stat().st_size == before.st_size
    assert not list(tmp_path.rglob("*.tmp"))


# The last net


@pytest.mark.parametrize("there", [True, False])
def test_what_nobody_foresaw_is_one_line_and_a_file(tmp_path, monkeypatch, capsys, there):
    def fails(*_: object) -> None:
        raise KeyError("a\nb\x1b[1m")

    monkeypatch.setattr(commands.suite, "main", fails)
    monkeypatch.setattr(commands, "HOSTS", tmp_path if there else tmp_path / "no")
    assert commands.main(["test"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "\x1b" not in told
    log = Path(told.rpartition(": ")[2].strip())
    assert (log.parent == tmp_path) is there
    assert "Traceback" in log.read_text()
    log.unlink()


# Leashes

CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(child.pid))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)
"""
PARENT = """
import subprocess, sys
from pathlib import Path
from frontdoor import processes
child = processes.start_leashed(Path(sys.executable), sys.argv[1:], Path.cwd())
print(child.pid, flush=True)
child.wait()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except (OSError, ValueError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_leashed_program_ends_with_a_killed_parent(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    program = [str(tmp_path / "child.py"), str(tmp_path / "mark")]
    command = [sys.executable, "-c", PARENT, *program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        end = time.monotonic() + 30
        while not (tmp_path / "mark").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
    while alive(pid) or alive(int((tmp_path / "mark").read_text())):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_benchmark_or_test_run_ends_with_a_killed_parent():
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    start = "import sys; from frontdoor.processes import *; "
    start += f"run([sys.executable, LEASH, 'quiet', '-c', {code!r}])"
    with subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_leashed_program_sees_what_it_would_without(tmp_path):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "child.py").write_text(
        "import sys, beside, runpy\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].__file__ == __file__\n"
        "assert 'frontdoor' not in sys.path[0] and sys.stdin.read() == ''\n"
        "print(sys.argv[1:])\nsys.exit(7)\n"
    )
    log = tmp_path / "log"
    program = [tmp_path / "child.py", "watch", "-m", ""]
    assert processes.run_leashed(Path(sys.executable), program, log=log) == 7
    assert log.read_text().strip() == "['watch', '-m', '']"


@posix
def test_a_benchmark_stopped_by_ctrl_c_prints_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, processes.LEASH, "quiet", tmp_path / "slow.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


# Progress


def test_a_terminal_gets_one_line_and_a_log_a_line_a_minute(tmp_path, capsys):
    log = tmp_path / "log"
    log.write_text("Collecting torch\nDownloading \x1b[1mtorch (800 MB)\n\n")
    waiting = progress.Waiting(log)
    waiting.show()
    assert capsys.readouterr().out == ""
    waiting.start -= 65
    for _ in range(3):
        waiting.show()
    assert capsys.readouterr().out == "  1:05  Downloading  [1mtorch (800 MB)\n"
    waiting.watched = True
    waiting.show()
    waiting.end()
    told = capsys.readouterr().out
    assert told.startswith("\r  1:05  Downloading  [1mtorch (800 MB)")
    assert told.count("\n") == 1


def test_the_end_of_a_log_is_read_without_the_rest(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"\xff" * 10**6 + b"\nlast\xff\n \n")
    assert progress.last_lines(log, 1) == ["last\ufffd"]
    assert progress.last_lines(tmp_path / "none", 3) == []


def test_an_unwritable_output_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Problem):
        commands.try_folder(tmp_path / "file")
