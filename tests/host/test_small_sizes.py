"""A small checkpoint that says sizes it cannot have is refused by its name before a network is built."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo" / "shapes_sd.safetensors"

ODD = [
    ("text", "num_hidden_layers", 100_000),
    ("text", "num_hidden_layers", 64),
    ("text", "hidden_size", 64),
    ("text", "hidden_act", 5),
    ("unet", "model_channels", 10**9),
    ("unet", "model_channels", 2048),
    ("unet", "model_channels", 65),
    ("unet", "num_heads", 0),
    ("unet", "channel_mult", [1]),
    ("unet", "no_such_argument", 5),
    ("vae", "embed_dim", 7),
]


def refusal(loader, path: Path) -> str | None:
    try:
        loader.load_small(str(path))
    except loader.FormatError as error:
        return str(error)
    return None


def test_sizes_that_the_file_cannot_have(comfy, tmp_path) -> None:
    loader = comfy.pack("animatelcm_core.host.load.small_model")
    with safe_open(DEMO, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(DEMO)
    accepted = []
    for number, (part, name, value) in enumerate(ODD):
        sizes = json.loads(metadata["animatelcm.shapes"])
        sizes[part][name] = value
        path = tmp_path / f"odd{number}.safetensors"
        save_file(tensors, path, {**metadata, "animatelcm.shapes": json.dumps(sizes)})
        start = time.process_time()
        said = refusal(loader, path)
        assert time.process_time() - start < 10
        if said is None:
            accepted.append(name)
        else:
            assert path.name in said
            assert "; expected " in said
    # The host ignores, or makes up for, at most these.
    assert set(accepted) <= {"num_hidden_layers", "no_such_argument", "num_heads"}


@pytest.mark.parametrize("name", ["load_checkpoint", "load_control"])
def test_a_pipe_is_refused_at_once(comfy, tmp_path, name: str) -> None:
    path = tmp_path / "pipe.safetensors"
    os.mkfifo(path)
    module = comfy.pack(f"animatelcm_core.host.load.{name.removeprefix('load_')}")
    with pytest.raises(ValueError, match=r"pipe\.safetensors, which is a pipe"):
        getattr(module, name)(str(path))
