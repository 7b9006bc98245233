"""The small world's command line: one for all, and every old word says the new one and runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.small_world.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
OLD = {
    "table": "table1",
    "figure": "figure5",
    "image_to_video": "image-to-video",
    "controlled": "control",
    "style": "style",
    "fine_vae": "fine-vae",
    "reproduce": "reproduce",
    "stage_three": "stage-three",
    "sample": "sample",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m training.small_world {command} ")
    assert "--out" in said or "--to" in said or command == "style"


def test_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["table2"])
    assert end.value.code == 2
    assert "table1" in capsys.readouterr().err


def test_steps_are_for_stages_that_have_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["restart", "--steps", "3"])
    assert end.value.code == 2
    assert "got stage restart; expected one of decoder, image, motion" in capsys.readouterr().err


def old(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)


def test_every_old_word_has_its_file() -> None:
    files = {path.stem: path for path in (ROOT / "training" / "shapes").glob("[!_]*.py")}
    assert set(files) == set(OLD)
    for word, path in files.items():
        assert f'run("{OLD[word]}")' in path.read_text(encoding="ascii")


def test_an_old_script_says_the_new_command_and_runs_it(tmp_path: Path) -> None:
    save_file({"noise": torch.zeros(1, 4, 8, 8)}, tmp_path / "noise.safetensors")
    words = [
        "--noise",
        str(tmp_path / "noise.safetensors"),
        "--caption",
        "a red fish sleeping",
        "--steps",
        "1",
    ]
    ran = old("training.shapes.sample", *words, "--out", str(tmp_path / "old.safetensors"))
    assert ran.returncode == 0, ran.stderr
    assert "The command is now: python -m training.small_world sample" in ran.stderr
    main(["sample", *words, "--out", str(tmp_path / "new.safetensors")])
    before, after = (load_file(tmp_path / f"{name}.safetensors")["latents"] for name in ("old", "new"))
    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("words", [("restart", "--steps", "3"), ("--steps", "3", "restart")])
def test_an_old_stage_says_the_new_command_and_runs_it(words: tuple[str, ...]) -> None:
    ran = old("training.shapes", *words)
    assert ran.returncode == 2
    assert "The command is now: python -m training.small_world restart" in ran.stderr
    assert "expected one of decoder, image, motion" in ran.stderr
