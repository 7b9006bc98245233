"""The oldest and the newest ComfyUI give the same bits for the same noise, on the same machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.scenarios import scenario
from support.studio import Studio, relative

from frontdoor.hosts import NEWEST, OLDEST


def test_bit_equal(studio: Studio, tmp_path: Path) -> None:
    """The pack's sampler draws its own noise; the hosts' samplers of the last step, euler, draw none."""
    here = studio.comfy.host
    other = here.path.parent / OLDEST
    if here.version != NEWEST or not (other / "main.py").is_file():
        pytest.skip(f"compares ComfyUI {NEWEST} with {OLDEST} beside it")
    _, theirs = scenario(other, tmp_path, "clips")
    ours = studio.clips()
    assert set(ours) == set(theirs)
    for name, clip in ours.items():
        assert torch.equal(clip, theirs[name]), f"{name}: relative difference {relative(clip, theirs[name])}"
    assert relative(ours["text to video"], ours["image to video"]) > 0.1  # not all the same clip
