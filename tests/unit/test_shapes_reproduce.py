"""The whole reproduction at a tiny size: every stage runs, resumes and leaves its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_stage_runs_and_a_second_run_passes_over_all_of_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.shapes.reproduce", "--smoke"]
    command += ["--out", str(tmp_path / "run"), "--to", str(tmp_path / "to")]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert {"fig5.json", "fig5.png", "table1.json", "table1.png"} <= {
        p.name for p in (tmp_path / "to").iterdir()
    }
    rows = json.loads((tmp_path / "to" / "fig5.json").read_text(encoding="ascii"))["rows"]
    assert {row["arm"] for row in rows} == {"paper", "without_init", "without_decouple"}
    ends = {row["arm"]: max(r["tflop"] for r in rows if r["arm"] == row["arm"]) for row in rows}
    assert ends["paper"] == pytest.approx(ends["without_init"], rel=0.05)  # its target starts bare
    assert ends["without_decouple"] == pytest.approx(ends["paper"], rel=0.2)  # whole steps, of few
    table = json.loads((tmp_path / "to" / "table1.json").read_text(encoding="ascii"))["rows"]
    assert {"animatelcm", "animatelcm_personal", "ddim", "dpm++", "teacher"} <= {
        row["method"] for row in table
    }
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "s/step" not in again.stdout  # nothing was trained again
