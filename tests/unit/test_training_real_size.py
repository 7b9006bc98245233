"""One optimizer step of each stage at the size of Stable Diffusion 1.5, on seeded random weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import safe_open

from animatelcm_core.formats import load_motion, read_tensors, require_lora

ROOT = Path(__file__).resolve().parents[2]
PEAK = {"image": 7.0, "video": 17.0, "encoder": 17.0, "controlnet": 12.5, "t2i_adapter": 9.5}
# GiB; 5.9, 15.5, 15.2, 11.1 and 8.1 were measured. One more copy of a network would show.
pytestmark = pytest.mark.slow


def step_of(stage: str, folder: Path) -> dict[str, Any]:
    """What tests/support/real_size_step.py tells; its process gives the memory back."""
    available = psutil.virtual_memory().available / 2**30
    if available < PEAK[stage]:
        pytest.skip(f"{available:.1f} GiB of memory are free; stage {stage} needs {PEAK[stage]}")
    command = [sys.executable, str(ROOT / "tests" / "support" / "real_size_step.py"), stage, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    told = ("seconds", "peak_gib", "loss", "norm")
    print(stage, {key: result[key] for key in told})  # pytest -s
    assert math.isfinite(result["loss"])
    assert 0 < result["norm"] < math.inf
    assert result["base_unchanged"]
    assert result["peak_gib"] < PEAK[stage]
    return result


def keys_and_types(path: Path) -> tuple[list[str], set[torch.dtype]]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys()), {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118


def test_the_image_stage_trains_the_278_layers_of_an_lcm_lora(tmp_path: Path):
    result = step_of("image", tmp_path)
    assert result["lora_layers"] == 278
    assert len(result["trained"]) == 2 * 278
    # B starts at zero, so the first update reaches B alone.
    assert result["changed"] == [name for name in result["trained"] if name.endswith(".lora_B")]
    (path,) = map(Path, result["exported"])
    keys, types = keys_and_types(path)
    assert (len(keys), types) == (3 * 278, {torch.float16})
    require_lora(read_tensors(path)[0], path.name)


def test_the_video_stage_trains_546_tensors_and_exports_them(tmp_path: Path):
    result = step_of("video", tmp_path)
    assert len(result["trained"]) == 546
    assert result["changed"] == result["trained"]
    (path,) = map(Path, result["exported"])
    keys, types = keys_and_types(path)
    assert (sorted(keys), types) == (result["trained"], {torch.float16})
    tensors, metadata = read_tensors(path)
    file = load_motion(tensors, metadata, path.name)
    assert (file.kind, file.config.has_mid, file.schedule) == ("animatelcm_t2v", True, "text to video")


def test_the_encoder_is_trained_with_the_motion_weights(tmp_path: Path):
    result = step_of("encoder", tmp_path)
    assert len(result["trained"]) == 546 + 38
    (path,) = map(Path, result["exported"])
    file = load_motion(*read_tensors(path), path.name)
    assert (file.kind, file.schedule, len(file.image_encoder)) == ("animatelcm_i2v", "image to video", 38)


@pytest.mark.parametrize(("kind", "layers", "tensors"), [("controlnet", 143, 340), ("t2i_adapter", 19, 38)])
def test_an_adapters_lora_is_trained_and_merged(kind: str, layers: int, tensors: int, tmp_path: Path):
    result = step_of(kind, tmp_path)
    assert len(result["trained"]) == 2 * layers
    assert result["changed"] == [name for name in result["trained"] if name.endswith(".lora_B")]
    lora, merged = map(Path, result["exported"])
    assert len(keys_and_types(lora)[0]) == 3 * layers
    before, after = (read_tensors(path)[0] for path in (tmp_path / f"{kind}.safetensors", merged))
    assert before.keys() == after.keys()
    assert len(after) == tensors
    assert {key: value.shape for key, value in before.items()} == {k: v.shape for k, v in after.items()}
