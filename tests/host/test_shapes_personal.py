"""A personal checkpoint under the same LoRA and motion weights: its style, and what the caption says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.client import Client
from support.shapes import GRAPH, RESULTS, ROOT, asked, demo_clip, in_the_repository, read

from frontdoor.server import Server

RECORDED = json.loads((RESULTS / "inked.json").read_text(encoding="ascii"))["summary"]
FILES = {
    "animatediff_models": "shapes_lcm_motion.safetensors",
    "loras": "shapes_lcm_lora.safetensors",
}
CHECKPOINT = "shapes_inked.safetensors"
CLIPS = 60


@pytest.fixture
def graph(server: Server) -> dict[str, Any]:
    """The demo's graph with the loader for users' files in the place of Load Demo."""
    models = server.base / "models"
    for kind, name in FILES.items():
        shutil.copy(ROOT / "demo" / name, models / kind / name)
    lora, checkpoint = ROOT / "demo" / "shapes_inked_lora.safetensors", models / "checkpoints" / CHECKPOINT
    in_the_repository(
        "-m", "training.small_world", "style", "merge", "--lora", str(lora), "--to", str(checkpoint)
    )
    inputs = {
        "ckpt_name": CHECKPOINT,
        "motion_model": FILES["animatediff_models"],
        "lcm_lora": FILES["loras"],
        "lora_strength": 1.0,
        "schedule": "auto",
    }
    return {**GRAPH, "model": {"class_type": "AnimateLCM_LoadCheckpoint", "inputs": inputs}}


def test_another_checkpoint_keeps_the_caption_and_brings_its_style(
    client: Client, graph: dict[str, Any], tmp_path: Path
) -> None:
    labels, texts = asked(CLIPS)
    clips = torch.stack([demo_clip(client, graph, text, 910_000 + i) for i, text in enumerate(texts)])
    right = float(read(clips, labels, tmp_path)["all"].mean())
    assert right >= RECORDED["all"]["share"] - 0.10
    plain = torch.stack([demo_clip(client, GRAPH, text, 910_000 + i) for i, text in enumerate(texts[:6])])
    assert warmth(clips) > 0.08  # paper
    assert abs(warmth(plain)) < 0.05
    assert black(clips) > 5 * black(plain)  # the thick outline


def warmth(clips: torch.Tensor) -> float:
    """Mean of red less blue in the corners, where no creature is."""
    corners = torch.cat([clips[..., :6, :6], clips[..., -6:, -6:]], dim=-1)
    return float((corners[:, :, 0] - corners[:, :, 2]).mean())


def black(clips: torch.Tensor) -> float:
    """Share of pixels that are black."""
    return float((clips.amax(2) < 0.15).float().mean())
