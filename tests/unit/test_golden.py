"""The core against recorded outputs of the authors' code (tests/golden/README.md gives the tolerances)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file

from animatelcm_core.attach import attached
from animatelcm_core.config import MotionConfig
from animatelcm_core.consistency import lcm_step
from animatelcm_core.image_encoder import ImageEncoder
from animatelcm_core.motion_module import MotionModel, TemporalModule
from animatelcm_core.schedule import SCHEDULES, Schedule

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
TABLES = {
    "t2v": SCHEDULES["text to video"],
    "i2v": SCHEDULES["image to video"],
    "paper50": Schedule(original_steps=50),
}


def load(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def weights(tensors: dict[str, torch.Tensor], prefix: str = "weights.") -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("output", ["output", "output_5_frames"])
def test_motion_module(output: str) -> None:
    golden = load("motion_module")
    module = TemporalModule(64, 8, torch.nn)
    module.load_state_dict(weights(golden))
    expected = golden[output]
    b, _, f = expected.shape[:3]
    x = rearrange(golden["input"][:, :, :f], "b c f h w -> (b f) c h w")
    with torch.inference_mode():
        got = rearrange(module(x, f), "(b f) c h w -> b c f h w", b=b)
    assert relative(got, expected) < 1e-5
    assert relative(golden["input"][:, :, :f], expected) > 0.05  # the module does something


def test_inflated_unet() -> None:
    diffusers = pytest.importorskip("diffusers")
    golden = load("video_unet")
    w = weights(golden)
    motion_keys = {k for k in w if "motion_modules" in k}
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=4,
    ).eval()
    unet.load_state_dict({k: v for k, v in w.items() if k not in motion_keys})
    motion = MotionModel(MotionConfig(channels=(32, 64), heads=4))
    # The recorded UNet has temporal modules going down and in the middle only.
    motion.load_state_dict({k: w[k] for k in motion_keys}, strict=False)
    modules = {name: m for name, m in motion.blocks().items() if not name.startswith("up_blocks")}
    assert {k for k in motion.state_dict() if not k.startswith("up_blocks")} == motion_keys
    x = rearrange(golden["x"], "b c f h w -> (b f) c h w")
    context = golden["context"].expand(16, -1, -1)
    for t in (999, 499, 19):
        with torch.inference_mode(), attached(unet, modules, frames=16):
            eps = unet(x, t, context).sample
        assert relative(rearrange(eps, "(b f) c h w -> b c f h w", f=16), golden[f"eps_{t}"]) < 1e-5


@pytest.mark.parametrize("table", TABLES)
def test_schedule(table: str) -> None:
    golden, schedule = load("lcm_scheduler"), TABLES[table]
    assert torch.allclose(schedule.alpha_bar().float(), golden[f"{table}.alphas_cumprod"], rtol=1e-5, atol=0)
    for steps in range(1, 9):
        assert torch.equal(schedule.timesteps(steps), golden[f"{table}.timesteps.{steps}"])


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("table", TABLES)
def test_trajectory(table: str, steps: int) -> None:
    golden, schedule = load("lcm_scheduler"), TABLES[table]
    alpha_bar, timesteps = schedule.alpha_bar(), schedule.timesteps(steps)
    x = golden[f"{table}.x_T.{steps}"]
    for i, t in enumerate(timesteps):
        eps = 0.9 * torch.tanh(1.3 * x + 0.2) + 0.05 * torch.sin(t / 100)
        last = i == steps - 1
        following = None if last else alpha_bar[timesteps[i + 1]]
        noise = None if last else golden[f"{table}.noise.{steps}.{i}"]
        x = lcm_step(x, eps, t, alpha_bar[t], following, noise)
    assert relative(x, golden[f"{table}.latents.{steps}"]) < 1e-5


@pytest.mark.parametrize("motion_scale", [0.0, 0.8, 1.5])
def test_image_encoder(motion_scale: float) -> None:
    golden = load("image_encoder")
    encoder = ImageEncoder((32, 64, 128, 128))
    encoder.load_state_dict(weights(golden))
    with torch.inference_mode():
        features = encoder(golden["latent"], range(16), motion_scale)
    for level, feature in enumerate(features):
        assert relative(feature[[0, 7, 15]], golden[f"features_scale_{motion_scale}.{level}"]) < 1e-5
