"""The nodes in a real server, over HTTP: whole graphs, caching, interrupt, memory, hostile values."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ROOT, small_files
from support.client import Client

from frontdoor.api import Failed, Rejected
from frontdoor.server import Server

PICTURES = [number.to_bytes(4, "big") for number in (1, 4)]  # types of binary messages with a preview
DEMO = ROOT / "demo" / "shapes_sd.safetensors"


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(seed: int = 1, frames: int = 16, **model: dict[str, Any]) -> dict[str, Any]:
    """Text to video with AnimateLCM Load Checkpoint and AnimateLCM Sample; `model` adds or replaces nodes."""
    return {
        "load": node(
            "AnimateLCM_LoadCheckpoint",
            ckpt_name=Path(small_files.CHECKPOINT).name,
            motion_model=Path(small_files.MOTION).name,
            lcm_lora=Path(small_files.LORA).name,
            lora_strength=0.8,
            schedule="auto",
        ),
        "positive": node("CLIPTextEncode", clip=["load", 1], text="a red fish swimming left"),
        "negative": node("CLIPTextEncode", clip=["load", 1], text="blurry"),
        "latent": node("AnimateLCM_EmptyVideoLatent", width=64, height=64, frames=frames),
        "sample": node(
            "AnimateLCM_Sample",
            model=["load", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent=["latent", 0],
            seed=seed,
            steps=4,
            cfg=1.5,
            denoise=1.0,
        ),
        "keep": node("SaveLatent", samples=["sample", 0], filename_prefix="clip"),
        **model,
    }


MODULAR = {
    "motion": node("AnimateLCM_LoadMotionModel", motion_model=Path(small_files.MOTION).name),
    "lora": node(
        "LoraLoaderModelOnly",
        model=["base", 0],
        lora_name=Path(small_files.LORA).name,
        strength_model=0.8,
    ),
}


@pytest.fixture(scope="module")
def models(server: Server) -> Path:
    return small_files.write(server.base / "models")


@pytest.fixture
def api(models: Path, client: Client) -> Client:
    return client


def test_text_to_video(api: Client) -> None:
    prompt = graph()
    prompt["images"] = node("VAEDecode", samples=["sample", 0], vae=["load", 2])
    prompt["video"] = node("CreateVideo", images=["images", 0], fps=8.0)
    prompt["save"] = node(
        "SaveVideo", video=["video", 0], filename_prefix="video/clip", format="mp4", codec="h264"
    )
    run = api.run(prompt)
    pictures = [message for message in api.previews if message[:4] in PICTURES]
    assert len(pictures) >= 4  # one for each step
    assert api.latent(run, "keep").shape == (16, 4, 8, 8)
    assert api.video(run, "save").shape == (16, 64, 64, 3)


def test_a_second_run_is_cached_and_another_seed_is_not(api: Client) -> None:
    first = api.latent(api.run(graph(seed=2)), "keep")
    again = api.run(graph(seed=2))
    assert again.executed == []
    run = api.run(graph(seed=3))
    assert "load" not in run.executed
    assert not torch.equal(api.latent(run, "keep"), first)


def test_stock_nodes_give_the_same_as_the_packs(api: Client) -> None:
    """Load Checkpoint, Load LoRA, Apply, SamplerCustomAdvanced: the same bits as the two-node way."""
    short = api.latent(api.run(graph(seed=4)), "keep")
    modular = graph(
        seed=4,
        motion=MODULAR["motion"],
        apply=node(
            "AnimateLCM_ApplyMotionModel",
            model=["load", 0],
            motion=["motion", 0],
            schedule="auto",
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
        ),
        guider=node(
            "CFGGuider", model=["apply", 0], positive=["positive", 0], negative=["negative", 0], cfg=1.5
        ),
        noise=node("RandomNoise", noise_seed=4),
        sigmas=node("AnimateLCM_Scheduler", model=["apply", 0], steps=4, denoise=1.0),
        sampler=node("AnimateLCM_SamplerLCM", s_noise=1.0),
        sample=node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
    )
    assert torch.equal(api.latent(api.run(modular), "keep"), short)


def test_one_base_with_and_without_motion_in_one_prompt(api: Client) -> None:
    """Two branches share the checkpoint; each gives what it gives alone."""
    still = node(
        "AnimateLCM_ApplyMotionModel",
        model=["load", 0],
        motion=["motion", 0],
        schedule="keep",
        strength=0.0,
        start_percent=0.0,
        end_percent=1.0,
    )

    def sampled(model: str) -> dict[str, Any]:
        return {
            **graph(seed=5)["sample"],
            "inputs": {**graph(seed=5)["sample"]["inputs"], "model": [model, 0]},
        }

    both = graph(
        seed=5,
        motion=MODULAR["motion"],
        still=still,
        sample_still=sampled("still"),
        keep_still=node("SaveLatent", samples=["sample_still", 0], filename_prefix="still"),
    )
    run = api.run(both)
    video, pictures = api.latent(run, "keep"), api.latent(run, "keep_still")
    assert not torch.equal(video, pictures)
    api.free()
    alone = graph(seed=5, motion=MODULAR["motion"], still=still, sample=sampled("still"))
    assert torch.equal(api.latent(api.run(alone), "keep"), pictures)
    api.free()
    assert torch.equal(api.latent(api.run(graph(seed=5)), "keep"), video)


def test_interrupt_and_go_on(api: Client) -> None:
    expected = api.latent(api.run(graph(seed=6)), "keep")
    api.free()
    long = graph(seed=7)
    long["sample"]["inputs"]["steps"] = 50

    def on_event(kind: str, _data: dict[str, Any]) -> None:
        if kind == "progress":
            api.interrupt()

    with pytest.raises(Failed, match="(?i)interrupt"):
        api.run(long, on_event=on_event)
    assert torch.equal(api.latent(api.run(graph(seed=6)), "keep"), expected)


@pytest.mark.parametrize("frames", [5, 33])
def test_lengths(api: Client, frames: int) -> None:
    assert api.latent(api.run(graph(seed=8, frames=frames)), "keep").shape[0] == frames


def test_warnings_are_in_the_log(api: Client, server: Server) -> None:
    before = len(server.log_text())
    prompt = graph(seed=9, frames=5)
    prompt["sample"]["inputs"]["cfg"] = 8.0
    api.run(prompt)
    log = server.log_text()[before:]
    assert "AnimateLCM: got 5 frames; expected 8 or more" in log
    assert "AnimateLCM: got cfg 8; expected 1 to 2" in log


def test_warnings_are_on_the_node(api: Client) -> None:
    """Binary messages of type 3 are texts for a node: its id's length, its id, the text."""
    prompt = graph(seed=9, frames=6)
    prompt["sample"]["inputs"] |= {"cfg": 9.0, "steps": 1}
    api.previews.clear()
    api.run(prompt)
    texts = [message[4:] for message in api.previews if message[:4] == (3).to_bytes(4, "big")]
    told = {t[4 : 4 + t[3]].decode(): t[4 + t[3] :].decode() for t in texts}
    assert "got 6 frames" in told["latent"]
    assert "got cfg 9" in told["sample"]
    assert "got 6 frames" in told["sample"]


def test_errors_reach_the_user(api: Client) -> None:
    with pytest.raises(Failed, match="got 65 frames; expected at most 64") as caught:
        api.run(graph(seed=10, frames=65))
    assert caught.value.run.error is not None
    assert caught.value.run.error["node_id"] == "sample"


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", 0), ("frames", 5000), ("width", 100000), ("height", -64), ("frames", "many")],
)
def test_hostile_sizes_are_refused_before_they_run(api: Client, name: str, value: object) -> None:
    prompt = graph()
    prompt["latent"]["inputs"][name] = value
    with pytest.raises(Rejected):
        api.run(prompt)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "no_such_file.ckpt"])
def test_only_files_of_the_folder_can_be_chosen(api: Client, name: str) -> None:
    prompt = graph()
    prompt["load"]["inputs"]["motion_model"] = name
    with pytest.raises(
        (Rejected, Failed), match="(?i)not in list|expected one of"
    ):  # the older host checks late
        api.run(prompt)


def test_a_replaced_file_is_read_again(api: Client, models: Path) -> None:
    shutil.copy2(models / small_files.MOTION, models / "animatediff_models" / "changing.safetensors")
    prompt = graph(seed=11)
    prompt["load"]["inputs"] |= {"motion_model": "changing.safetensors", "schedule": "soft"}
    first = api.latent(api.run(prompt), "keep")
    shutil.copy(models / small_files.OTHER_MOTION, models / "animatediff_models" / "changing.safetensors")
    run = api.run(prompt)
    assert "load" in run.executed
    assert not torch.equal(api.latent(run, "keep"), first)


@pytest.mark.skipif(not DEMO.is_file(), reason="the demo model has not been trained yet")
def test_demo(client: Client) -> None:
    prompt = graph(
        seed=3,
        load=node("AnimateLCM_LoadDemo", mode="text to video"),
        sample=node(
            "AnimateLCM_Sample",
            model=["load", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent=["latent", 0],
            seed=3,
            steps=4,
            cfg=1.0,
            denoise=1.0,
        ),
        images=node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        save=node("SaveImage", images=["images", 0], filename_prefix="demo"),
    )
    run = client.run(prompt)
    frames = client.images(run, "save")
    assert frames.shape == (16, 64, 64, 3)
    assert frames.std() > 10


def test_low_memory_server(start_server: Any, models: Path, api: Client) -> None:
    """Models leave memory after every run and nothing is cached: all is loaded anew."""
    expected = api.latent(api.run(graph(seed=12)), "keep")
    with_little = start_server("--disable-smart-memory", "--cache-none")
    small_files.write(with_little.base / "models")
    try:
        with Client(with_little.url) as other:
            for _ in range(2):
                assert torch.equal(other.latent(other.run(graph(seed=12)), "keep"), expected)
    finally:
        with_little.stop()
