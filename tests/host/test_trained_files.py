"""What the trainer exports, in a real ComfyUI: the same numbers as in the trainer."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.inprocess import Comfy
from support.studio import relative

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "tests.support.trained_files", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_lora_and_motion_give_the_trainers_latents(
    comfy: Comfy, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two steps of the stock sampling function, the LoRA by the stock loader: no key is left unmatched."""
    sampled = load_file(exported / "sampled.safetensors")
    model, clip, _ = comfy.pack("animatelcm_core.host.small_model").load_small(
        str(ROOT / "demo" / "shapes_sd.safetensors")
    )
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        lora = load_file(exported / "lora.safetensors")
        model, clip = comfy.module("comfy.sd").load_lora_for_models(model, clip, lora, 1.0, 0.0)
    assert "lora key not loaded" not in caplog.text
    assert len(model.patches) == len(lora) // 3
    motion = comfy.pack("animatelcm_core.host.motion").load_file(
        str(exported / "motion.safetensors"), "motion.safetensors"
    )
    model = comfy.run(
        "AnimateLCM_ApplyMotionModel",
        model=model,
        motion=motion,
        schedule="auto",
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )[0]
    positive = comfy.run("CLIPTextEncode", clip=clip, text="a red fish swimming left")[0]
    ours = two_steps(comfy, model, positive, sampled["noise"], sampled["fresh"])
    # The host counts latents before, the trainer after the factor 0.18215.
    assert relative(ours * 0.18215, sampled["latents"]) < 1e-4


def two_steps(comfy: Comfy, model: Any, positive: Any, noise: torch.Tensor, fresh: torch.Tensor) -> Any:
    """The pack's own sampler over two steps; `fresh` is the noise of the second."""
    sampler = comfy.run("AnimateLCM_SamplerLCM", s_noise=1.0)[0]
    sampler.extra_options["noise_sampler"] = lambda sigma, sigma_next: fresh
    sigmas = comfy.run("AnimateLCM_Scheduler", model=model, steps=2, denoise=1.0)[0]
    guider = comfy.run("BasicGuider", model=model, conditioning=positive)[0]
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)
