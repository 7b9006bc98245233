"""The small model in a real ComfyUI: the clip shows what the caption says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.client import Client
from support.inprocess import Comfy
from support.shapes import GRAPH, RESULTS, ROOT, asked, demo_clip, in_the_repository, read
from support.studio import relative

RECORDED = json.loads((RESULTS / "demo.json").read_text(encoding="ascii"))["summary"]
CLIPS = 60


def test_clips_show_what_was_asked_for(client: Client, tmp_path: Path) -> None:
    """Four steps, no guidance, through the demo's own graph, with seeds of their own."""
    labels, texts = asked(CLIPS)
    texts[1] = texts[1].replace("a ", "an ", 1)  # no word of its training
    clips = torch.stack([demo_clip(client, GRAPH, text, 900_000 + i) for i, text in enumerate(texts)])
    right = float(read(clips, labels, tmp_path)["all"].mean())
    assert right >= RECORDED["all"]["share"] - 0.10


def test_the_video_has_all_frames(client: Client) -> None:
    run = client.run(GRAPH)
    (video,) = client.files(run, "video")
    import av  # the host's own

    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 8
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(pictures) == 16
    assert pictures[0].shape == (512, 512, 3)
    assert np.abs(pictures[0].astype(int) - pictures[-1].astype(int)).mean() > 2  # it is no still


def test_words_are_the_tokens_of_the_host(comfy: Comfy) -> None:
    words = json.loads(
        (ROOT / "training" / "small_world" / "world" / "words.json").read_text(encoding="ascii")
    )
    clip = comfy.run("AnimateLCM_LoadDemo", mode="text to video")[1]
    tokens = clip.tokenize(" ".join(words))["l"][0]
    assert [token for token, _ in tokens[1 : len(words) + 1]] == list(words.values())


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_training_side_samples_the_same_latents(comfy: Comfy, tmp_path: Path, guidance: float) -> None:
    caption, seed = "a blue crab swimming right", 12
    core = "animatelcm_core.host"
    with torch.inference_mode():
        model, clip, _ = comfy.pack(f"{core}.load.small_model").load_small(
            str(ROOT / "demo/shapes_sd.safetensors")
        )
        teacher = comfy.pack(f"{core}.load.motion").load_file(
            str(ROOT / "demo/shapes_motion.safetensors"), "teacher"
        )
        model = comfy.pack(f"{core}.patches.motion").with_motion(model, teacher)
    model = comfy.run(
        "AnimateLCM_ModelSampling", model=model, schedule="animatediff", beta_end=0.0, original_steps=0
    )[0]
    positive, negative = (comfy.run("CLIPTextEncode", clip=clip, text=text)[0] for text in (caption, ""))
    latent = comfy.run("AnimateLCM_EmptyVideoLatent", width=64, height=64, frames=16)[0]
    sampled = comfy.run(
        "KSampler",
        model=model,
        seed=seed,
        steps=25,
        cfg=guidance,
        sampler_name="ddim",
        scheduler="simple",
        positive=positive,
        negative=negative,
        latent_image=latent,
        denoise=1.0,
    )[0]["samples"]
    noise = comfy.module("comfy.sample").prepare_noise(latent["samples"], seed)
    save_file({"noise": noise}, tmp_path / "noise.safetensors")
    in_the_repository(
        "-m",
        *("training.small_world", "sample"),
        *("--noise", str(tmp_path / "noise.safetensors"), "--caption", caption),
        *("--guidance", str(guidance), "--out", str(tmp_path / "latents.safetensors")),
    )
    ours = load_file(tmp_path / "latents.safetensors")["latents"]
    # The host counts latents before, the training side after the factor 0.18215.
    assert relative(sampled * 0.18215, ours) < 1e-3
