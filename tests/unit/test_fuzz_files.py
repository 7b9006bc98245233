"""Malformed weights files by seed: each loads, or is named in a refusal, in bounded time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEED = os.environ.get("ANIMATELCM_FUZZ_SEED", "19")


def test_500_malformed_files_are_refused_or_load() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--files", "500", "--seed", SEED]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"seed {SEED}: 500 files" in result.stdout


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is counted on Linux alone")
def test_the_memory_that_a_reader_takes_is_seen(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.fuzz import reading\n"
        "before = reading._fresh_peak()\n"
        "taken = b'x' * 300_000_000; del taken\n"
        "assert 280 < reading._peak() - before < 400\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
