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
    model, clip, _ = comfy.pack("animatelcm_core.host.load.small_model").load_small(
        str(ROOT / "demo" / "shapes_sd.safetensors")
    )
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        lora = load_file(exported / "lora.safetensors")
        model, clip = comfy.module("comfy.sd").load_lora_for_models(model, clip, lora, 1.0, 0.0)
    assert "lora key not loaded" not in caplog.text
    assert len(model.patches) == len(lora) // 3
    motion = comfy.pack("animatelcm_core.host.load.motion").load_file(
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


@pytest.mark.parametrize("how", ["lora", "merged"])
@pytest.mark.parametrize("kind", ["controlnet", "t2i_adapter"])
def test_adapters_give_the_trainers_latents(comfy: Comfy, exported: Path, kind: str, how: str) -> None:
    """The adapter with its LoRA by the pack's node, and the merged file alone."""
    sampled = load_file(exported / "sampled.safetensors")
    loader = comfy.pack("animatelcm_core.host.load.small_model")
    model, clip, _ = loader.load_small(str(ROOT / "demo" / "shapes_sd.safetensors"))
    with torch.inference_mode():
        lora = load_file(exported / "lora.safetensors")
        model, clip = comfy.module("comfy.sd").load_lora_for_models(model, clip, lora, 1.0, 0.0)
    demo = str(ROOT / "demo" / "shapes_motion.safetensors")
    motion = comfy.pack("animatelcm_core.host.load.motion").load_file(demo, "shapes_motion.safetensors")
    given = {"schedule": "text to video", "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    model = comfy.run("AnimateLCM_ApplyMotionModel", model=model, motion=motion, **given)[0]
    control = small_control(
        comfy, model, kind, exported / f"{kind}{'_merged' * (how == 'merged')}.safetensors"
    )
    if how == "lora":
        file = exported / f"{kind}_lora.safetensors"
        comfy.models("loras").mkdir(parents=True, exist_ok=True)
        (comfy.models("loras") / file.name).write_bytes(file.read_bytes())
        given = {"control_net": control, "lora": file.name, "strength": 1.0}
        (control,) = comfy.run("AnimateLCM_ControlLoRA", **given)
    positive = comfy.run("CLIPTextEncode", clip=clip, text="a red fish swimming left")[0]
    positive, _ = comfy.run(
        "ControlNetApplyAdvanced",
        positive=positive,
        negative=positive,
        control_net=control,
        image=sampled["hints"].permute(0, 2, 3, 1),
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    ours = two_steps(comfy, model, positive, sampled["noise"], sampled["fresh"])
    # Merged weights are halves of their own.
    assert relative(ours * 0.18215, sampled[kind]) < (1e-4 if how == "lora" else 5e-3)
    assert relative(ours * 0.18215, sampled["latents"]) > 0.05


def small_control(comfy: Comfy, model: Any, kind: str, path: Path) -> Any:
    """The stock loader's T2I-Adapter; a ControlNet of the host's class: its loader knows one size only."""
    controls = comfy.module("comfy.controlnet")
    if kind == "t2i_adapter":
        with torch.inference_mode():
            return controls.load_controlnet(str(path))
    config = dict(model.model.model_config.unet_config)
    config = {key: value for key, value in config.items() if key not in ("out_channels", "dtype")}
    ops = comfy.module("comfy.ops").manual_cast
    network = comfy.module("comfy.cldm.cldm").ControlNet(**config, hint_channels=3, operations=ops)
    weights = {key.removeprefix("control_model."): value for key, value in load_file(path).items()}
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    return controls.ControlNet(network, load_device=torch.device("cpu"))


def two_steps(comfy: Comfy, model: Any, positive: Any, noise: torch.Tensor, fresh: torch.Tensor) -> Any:
    """The pack's own sampler over two steps; `fresh` is the noise of the second."""
    sampler = comfy.run("AnimateLCM_SamplerLCM", s_noise=1.0)[0]
    sampler.extra_options["noise_sampler"] = lambda sigma, sigma_next: fresh
    sigmas = comfy.run("AnimateLCM_Scheduler", model=model, steps=2, denoise=1.0)[0]
    guider = comfy.run("BasicGuider", model=model, conditioning=positive)[0]
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)
