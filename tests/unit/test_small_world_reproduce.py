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
    command = [sys.executable, "-m", "training.small_world", "reproduce", "--smoke"]
    command += ["--out", str(tmp_path / "run"), "--to", str(tmp_path / "to")]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert {"fig5.json", "fig5.webp", "table1.json", "table1.webp"} <= {
        p.name for p in (tmp_path / "to").iterdir()
    }
    early = json.loads((tmp_path / "to" / "early" / "fig5.json").read_text(encoding="ascii"))["rows"]
    assert {(row["arm"], row["step"]) for row in early} == {
        (arm, step) for arm in ("paper", "without_init", "without_decouple") for step in (1, 2)
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


@pytest.mark.slow
def test_stage_three_runs_whole_and_is_passed_over_when_done(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.small_world", "stage-three", "--smoke"]
    command += ["--out", str(tmp_path / "run"), "--to", str(tmp_path / "to")]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert {p.name for p in (tmp_path / "to").iterdir()} == {
        *("i2v.json", "i2v.webp", "i2v_clips.webp"),
        *("control.json", "control.webp", "control_clips.webp"),
    }
    rows = {
        name: [row["row"] for row in json.loads((tmp_path / "to" / f"{name}.json").read_text())["rows"]]
        for name in ("i2v", "control")
    }
    assert set(rows["i2v"]) == {
        *("image_to_video", "text_to_video", "image_to_video, named", "text_to_video, named", "vae"),
        *("untrained", "removed", "latents", "pixels", "first_frame"),
    }
    kinds = [f"{kind}_{when}" for kind in ("t2i_adapter", "controlnet") for when in ("before", "after")]
    assert rows["control"] == ["vae", "text_to_video", *kinds]
    again = subprocess.run([*command, "--only", "data", "adapters"], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "s/step" not in again.stdout
