"""The two LCM LoRAs of AnimateLCM are told apart where anything but their keys does."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from animatelcm_core.formats import lora_schedule
from animatelcm_core.formats.motion_file import SCHEDULE_KEY

TEXT, IMAGE = "text to video", "image to video"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AnimateLCM_sd15_t2v_lora.safetensors", TEXT),
        ("sd15_t2v_beta_lora.safetensors", TEXT),
        ("AnimateLCM_sd15_i2v_lora.safetensors", IMAGE),
        ("animatelcm-I2V.safetensors", IMAGE),
        ("sd15_lora_beta.safetensors", None),
        ("t2v_and_i2v.safetensors", None),
        ("cat2volcano.safetensors", None),
    ],
)
def test_by_name(tmp_path: Path, name: str, expected: str | None) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert lora_schedule(path, {}) == expected
    assert lora_schedule(path, {SCHEDULE_KEY: IMAGE}) == IMAGE


def test_by_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sd15_lora_beta.safetensors"
    path.write_bytes(b"published")
    known = (9, hashlib.sha256(b"published").hexdigest())
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["animatelcm_core.formats.lora_schedule"], "_TEXT_TO_VIDEO", known)
    assert lora_schedule(path, {}) == TEXT
    path.write_bytes(b"publisheD")
    assert lora_schedule(path, {}) is None
