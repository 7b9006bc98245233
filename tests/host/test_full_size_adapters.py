"""Image to video, ControlNet and T2I-Adapter at users' size, with seeded weights in the released layouts.

A server of its own runs them, which is stopped at the end: it holds several gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from support import full_files
from support.client import Client
from support.studio import relative
from test_full_size import node, saved
from torch import Tensor

from frontdoor.server import Server

pytestmark = pytest.mark.slow

FRAMES, SIZE = 16, 64
NAMES = {"controlnet": full_files.CONTROLNET, "t2i": full_files.T2I_ADAPTER}
LORAS = {"controlnet": full_files.CONTROL_LORA, "t2i": full_files.T2I_LORA}

Prompt = dict[str, Any]


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    full_files.write()
    config = full_files.extra_paths(tmp_path_factory.mktemp("adapters") / "extra_model_paths.yaml")
    server = start_server("--extra-model-paths-config", str(config))
    picture = torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(2))
    Image.fromarray((picture * 255).byte().numpy()).save(server.base / "input" / "picture.png")
    yield server
    server.stop()


def loaded(motion: str, lora: str = "none") -> Prompt:
    names = {"ckpt_name": full_files.CHECKPOINT, "motion_model": motion, "lcm_lora": lora}
    files = {key: full_files.name(value) for key, value in names.items()}
    text = node("CLIPTextEncode", clip=["load", 1], text="a red fish swimming left")
    return {
        "load": node("AnimateLCM_LoadCheckpoint", **files, lora_strength=0.8, schedule="auto"),
        "text": text,
        "picture": node("LoadImage", image="picture.png"),
    }


def one_step(name: str, model: list[object], latent: list[object], positive: list[object]) -> Prompt:
    wires = {"model": model, "latent": latent, "positive": positive, "negative": positive}
    sample = node("AnimateLCM_Sample", **wires, seed=7, steps=1, cfg=1.0, denoise=1.0)
    return {f"{name}_sample": sample, **saved(name, f"{name}_sample")}


def test_image_to_video(server: Server) -> None:
    """The encoder acts, its strength counts, and 0 levels are none of it."""

    def animated(name: str, **settings: object) -> Prompt:
        given = {
            "motion_scale": 0.8,
            "level_weights": "",
            "start_percent": 0.0,
            "end_percent": 1.0,
        } | settings
        wires = {"model": ["load", 0], "vae": ["load", 2], "image": ["picture", 0]}
        size = {"width": SIZE, "height": SIZE, "frames": FRAMES}
        return {
            f"{name}_i2v": node("AnimateLCM_ImageToVideo", **wires, **size, **given),
            **one_step(name, [f"{name}_i2v", 0], [f"{name}_i2v", 1], ["text", 0]),
        }

    graph = loaded(full_files.IMAGE_MOTION)
    graph |= animated("whole") | animated("none", level_weights="0") | animated("still", motion_scale=0.0)
    graph |= one_step("plain", ["load", 0], ["none_i2v", 1], ["text", 0])
    with Client(server.url) as client:
        run = client.run(graph, timeout=1800)
        clips = {name: client.latent(run, name) for name in ("whole", "none", "still", "plain")}
    assert all(clip.shape == (FRAMES, 4, SIZE // 8, SIZE // 8) for clip in clips.values())
    assert all(clip.isfinite().all() for clip in clips.values())
    assert torch.equal(clips["none"], clips["plain"])
    assert relative(clips["whole"], clips["plain"]) > 0.01
    assert relative(clips["whole"], clips["still"]) > 1e-4


@pytest.fixture(scope="module")
def controlled(server: Server) -> dict[str, Tensor]:
    """One step without control, with each adapter plain and adapted, and in a chain."""
    graph = loaded(full_files.MOTION)
    graph["empty"] = node("AnimateLCM_EmptyVideoLatent", width=SIZE, height=SIZE, frames=FRAMES)

    def applied(name: str, net: list[object], before: list[object]) -> Prompt:
        settings = {"strength": 0.5, "start_percent": 0.0, "end_percent": 1.0}
        wires = {"positive": before, "negative": before, "control_net": net, "image": ["picture", 0]}
        return {
            f"{name}_on": node("ControlNetApplyAdvanced", **wires, **settings),
            **one_step(name, ["load", 0], ["empty", 0], [f"{name}_on", 0]),
        }

    graph |= one_step("free", ["load", 0], ["empty", 0], ["text", 0])
    for kind, file in NAMES.items():
        lora = full_files.name(LORAS[kind])
        graph[kind] = node("ControlNetLoader", control_net_name=full_files.name(file))
        graph[f"{kind}_lora"] = node("AnimateLCM_ControlLoRA", control_net=[kind, 0], lora=lora, strength=1.0)
        graph |= applied(f"{kind}_plain", [kind, 0], ["text", 0])
        graph |= applied(f"{kind}_adapted", [f"{kind}_lora", 0], ["text", 0])
    graph |= applied("chain", ["t2i_lora", 0], ["controlnet_adapted_on", 0])
    names = [name for name in graph if graph[name]["class_type"] == "SaveLatent"]
    with Client(server.url) as client:
        run = client.run(graph, timeout=1800)
        return {name: client.latent(run, name) for name in names}


def test_adapters_and_their_loras(controlled: dict[str, Tensor]) -> None:
    assert all(clip.isfinite().all() for clip in controlled.values())
    for kind in NAMES:
        plain, adapted = controlled[f"{kind}_plain"], controlled[f"{kind}_adapted"]
        assert relative(plain, controlled["free"]) > 1e-3
        assert relative(adapted, plain) > 1e-4
    for kind in NAMES:
        assert relative(controlled["chain"], controlled[f"{kind}_adapted"]) > 1e-3


def test_the_host_used_every_key(server: Server, controlled: dict[str, Tensor]) -> None:
    log = server.log_text().lower()
    for word in ("not loaded", "missing controlnet keys", "leftover keys", "traceback", "error lora"):
        assert word not in log
