"""The text-to-video graph at users' size: SD1.5, AnimateLCM's motion file and LCM LoRA, with seeded weights.

A server of its own runs it, which is stopped at the end: it holds several gigabytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import full_files
from support.client import Client
from support.inprocess import Comfy
from support.studio import relative
from torch import Tensor

from frontdoor.server import Server

pytestmark = pytest.mark.slow

CHECKPOINT, MOTION, LORA = map(full_files.name, (full_files.CHECKPOINT, full_files.MOTION, full_files.LORA))
SEED, FRAMES, SIZE, STEPS = 7, 16, 128, 2
MOST_GIB = 12.0  # so that a machine of 16 GB does it

Prompt = dict[str, Any]


def node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def common(clip: list[object]) -> Prompt:
    return {
        "positive": node("CLIPTextEncode", clip=clip, text="a red fish swimming left"),
        "negative": node("CLIPTextEncode", clip=clip, text="blurry"),
        "empty": node("AnimateLCM_EmptyVideoLatent", width=SIZE, height=SIZE, frames=FRAMES),
    }


def sampled(name: str, class_type: str, model: str, latent: str, **settings: object) -> Prompt:
    """A sampler node of either pack on these conditions, its latents saved under `name`."""
    wires = {"model": [model, 0], "positive": ["positive", 0], "negative": ["negative", 0]}
    wires[latent] = ["empty", 0]
    settings = {"seed": SEED, "cfg": 1.0, "denoise": 1.0, **settings}
    return {f"{name}_sample": node(class_type, **wires, **settings), **saved(name, f"{name}_sample")}


def saved(name: str, sample: str) -> Prompt:
    return {name: node("SaveLatent", samples=[sample, 0], filename_prefix=f"latents/{name}")}


def all_in_one() -> Prompt:
    """The pack's short graph with its pictures; and one step alone."""
    load = node(
        "AnimateLCM_LoadCheckpoint",
        ckpt_name=CHECKPOINT,
        motion_model=MOTION,
        lcm_lora=LORA,
        lora_strength=0.8,
        schedule="auto",
    )
    return {
        "load": load,
        **common(["load", 1]),
        **sampled("clip", "AnimateLCM_Sample", "load", "latent", steps=STEPS),
        **sampled("one_step", "AnimateLCM_Sample", "load", "latent", steps=1),
        "decode": node("VAEDecode", samples=["clip_sample", 0], vae=["load", 2]),
        "frames": node("SaveImage", images=["decode", 0], filename_prefix="clip"),
    }


def modular() -> Prompt:
    """The same from the host's loaders and samplers; and without motion."""
    apply = {"model": ["lora", 0], "motion": ["motion", 0], "schedule": "auto"}
    apply |= {"start_percent": 0.0, "end_percent": 1.0}
    return {
        "load": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "lora": node("LoraLoaderModelOnly", model=["load", 0], lora_name=LORA, strength_model=0.8),
        "motion": node("AnimateLCM_LoadMotionModel", motion_model=MOTION),
        "moving": node("AnimateLCM_ApplyMotionModel", strength=1.0, **apply),
        "still": node("AnimateLCM_ApplyMotionModel", strength=0.0, **apply),
        **common(["load", 1]),
        "noise": node("RandomNoise", noise_seed=SEED),
        "guider": node("BasicGuider", model=["moving", 0], conditioning=["positive", 0]),
        "sampler": node("AnimateLCM_SamplerLCM", s_noise=1.0),
        "sigmas": node("AnimateLCM_Scheduler", model=["moving", 0], steps=STEPS, denoise=1.0),
        "custom": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["empty", 0],
        ),
        **saved("clip", "custom"),
        **sampled("no_motion", "AnimateLCM_Sample", "still", "latent", steps=STEPS),
        **sampled(
            "one_step", "KSampler", "moving", "latent_image", steps=1, sampler_name="lcm", scheduler="simple"
        ),
    }


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    full_files.write()
    config = full_files.extra_paths(tmp_path_factory.mktemp("full_size") / "extra_model_paths.yaml")
    server = start_server("--extra-model-paths-config", str(config))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def short_graph(server: Server) -> dict[str, Any]:
    with Client(server.url) as client:
        run = client.run(all_in_one(), timeout=1800)
        latents = {name: client.latent(run, name) for name in ("clip", "one_step")}
        return {**latents, "frames": client.images(run, "frames")}


@pytest.fixture(scope="module")
def long_graph(server: Server, short_graph: dict[str, Any]) -> dict[str, Tensor]:
    with Client(server.url) as client:
        run = client.run(modular(), timeout=1800)
        return {name: client.latent(run, name) for name in ("clip", "one_step", "no_motion")}


def test_text_to_video(short_graph: dict[str, Any]) -> None:
    for name in ("clip", "one_step"):
        assert short_graph[name].shape == (FRAMES, 4, SIZE // 8, SIZE // 8)
        assert short_graph[name].isfinite().all()
        assert float(short_graph[name].std()) > 0.1
    assert short_graph["frames"].shape == (FRAMES, SIZE, SIZE, 3)
    assert short_graph["frames"].std() > 1


def test_motion_matters(long_graph: dict[str, Tensor]) -> None:
    assert relative(long_graph["clip"], long_graph["no_motion"]) > 0.05


def test_modular_nodes_give_the_same_clip(short_graph: dict[str, Any], long_graph: dict[str, Tensor]) -> None:
    """Noise between steps is drawn by the pack's sampler in both; one step of the host's own draws none."""
    assert torch.equal(short_graph["clip"], long_graph["clip"])
    assert relative(long_graph["one_step"], short_graph["one_step"]) < 1e-5


def test_nothing_of_the_lora_is_left_over(server: Server, long_graph: dict[str, Tensor]) -> None:
    """The host names what it cannot use, and the short graph's clip is the same."""
    log = server.log_text().lower()
    assert "got prompt" in log
    assert "not loaded" not in log
    assert "traceback" not in log


def test_the_lora_changes_all_278_layers(comfy: Comfy) -> None:
    """On the host's own UNet, which takes no memory here."""
    full_files.write()
    prefix = "model.diffusion_model."
    with safe_open(full_files.path(full_files.CHECKPOINT), framework="pt") as file, torch.device("meta"):
        shapes = {key: torch.empty(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        config = comfy.module("comfy.model_detection").model_config_from_unet(shapes, prefix)
        unet = config.get_model(shapes, prefix, device="meta")
    cpu = torch.device("cpu")
    model = comfy.module("comfy.model_patcher").ModelPatcher(unet, load_device=cpu, offload_device=cpu)
    lora = comfy.pack("animatelcm_core.host.load.lora")
    patched = lora.with_lora(model, str(full_files.path(full_files.LORA)), 0.8)
    assert len(patched.patches) == 278


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_memory(
    server: Server, long_graph: dict[str, Tensor], record_property: Callable[[str, object], None]
) -> None:
    """The most the server held, files that it maps included, while it loaded and ran both graphs."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    peak = int(line.split()[1]) / 2**20
    record_property("peak_gib", round(peak, 2))
    print(f"peak memory {peak:.2f} GiB")
    assert 4 < peak < MOST_GIB
