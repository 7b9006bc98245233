"""`quickstart.py demo`, as a person runs it: both files are made, and no server is left, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import psutil
import pytest
from PIL import Image
from support import ROOT

LOGS = "animatelcm-*/server-*.log"


def start_demo(host, tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """The command in a session of its own; its server works below `tmp_path`, by which we know it."""
    command = [sys.executable, str(ROOT / "quickstart.py"), "demo", "--comfyui", str(host.path)]
    command += ["--output", str(tmp_path / "made"), *options]
    temporary = {name: str(tmp_path) for name in ("TMPDIR", "TEMP", "TMP")}
    return subprocess.Popen(
        command,
        env={**os.environ, **temporary},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=os.name != "nt",
    )


def servers_in(folder: Path) -> list[psutil.Process]:
    """Server processes that work below this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "main.py" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


def test_the_demo_makes_a_video_and_a_sheet(host, tmp_path):
    demo = start_demo(host, tmp_path, "--prompt", "a blue crab moving up", "--seed", "5")
    told, _ = demo.communicate(timeout=500)
    assert demo.returncode == 0, told
    assert "AnimateLCM_Sample 4/4" in told
    made = [tmp_path / "made" / f"a-blue-crab-moving-up-seed5.{kind}" for kind in ("mp4", "png")]
    assert told.splitlines()[-2:] == [str(path) for path in made]
    with av.open(made[0]) as clip:
        stream = clip.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(stream)]
        assert stream.average_rate == 8
    assert [frame.shape for frame in frames] == [(512, 512, 3)] * 16
    assert any((frame != frames[0]).any() for frame in frames)
    with Image.open(made[1]) as sheet:
        assert sheet.size == (798, 798)
    assert servers_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="a terminal's Ctrl-C cannot be sent to another console here")
def test_ctrl_c_stops_the_server_too(host, tmp_path):
    demo = start_demo(host, tmp_path)
    end = time.monotonic() + 120
    while not servers_in(tmp_path):
        assert demo.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    os.killpg(demo.pid, signal.SIGINT)
    told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, told
    assert "quickstart: stopped." in told
    assert "Traceback" not in told
    assert servers_in(tmp_path) == []


def wait_for(what: Callable[[], object], demo: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert demo.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(os.name == "nt", reason="a terminal's Ctrl-C cannot be sent to another console here")
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_no_traceback_when_stopped_while_it_samples(host, tmp_path, signals):
    demo = start_demo(host, tmp_path)
    wait_for(lambda: any("got prompt" in log.read_text("utf-8") for log in tmp_path.glob(LOGS)), demo)
    for number in signals:
        # A terminal sends Ctrl-C to the whole group; a supervisor sends SIGTERM to the one it knows.
        (os.killpg if number == signal.SIGINT else os.kill)(demo.pid, number)
        time.sleep(0.05)
    told, _ = demo.communicate(timeout=60)
    assert demo.returncode in (130, 143), told
    assert "Traceback" not in told
    assert servers_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_quickstart_leaves_no_server(host, tmp_path):
    demo = start_demo(host, tmp_path)
    wait_for(lambda: servers_in(tmp_path), demo)
    demo.kill()
    demo.communicate(timeout=60)
    end = time.monotonic() + 10
    while servers_in(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.1)
