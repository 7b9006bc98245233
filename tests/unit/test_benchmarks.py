"""The benchmarks start: their imports are found and their options are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frontdoor.commands import benchmarks


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(benchmarks()))
def test_a_benchmark_starts(name: str, tmp_path: Path):
    command = [sys.executable, str(benchmarks()[name]), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
