"""Hanging temporal modules on a UNet and taking them off again."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from animatelcm_core.attach import AttachError, attached, check_fit, motion_sites
from animatelcm_core.config import SD15_T2V, MotionConfig
from animatelcm_core.motion_module import MotionModel, zero_init

diffusers = pytest.importorskip("diffusers")
CONFIG = MotionConfig(channels=(32, 64), heads=4)


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=32,
        attention_head_dim=4,
    ).eval()


def run(unet: nn.Module, frames: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2 * frames, 4, 8, 8, generator=generator)
    context = torch.randn(1, 7, 32, generator=generator).expand(2 * frames, -1, -1)
    with torch.inference_mode():
        return unet(x, 500, context, return_dict=False)[0]


def hooks(unet: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in unet.modules())


def test_sites(unet: nn.Module) -> None:
    sites = motion_sites(unet)
    assert list(sites) == list(CONFIG.modules())
    assert sites["down_blocks.0.motion_modules.1"] == "down_blocks.0.attentions.1"
    assert sites["down_blocks.1.motion_modules.1"] == "down_blocks.1.resnets.1"  # no attention there
    assert sites["up_blocks.0.motion_modules.2"] == "up_blocks.0.resnets.2"
    assert len(SD15_T2V.modules()) == 21
    assert len(MotionConfig(channels=(64, 128)).modules()) == 11


def test_zero_init_is_bit_equal_and_nothing_stays(unet: nn.Module) -> None:
    before, keys = run(unet), list(unet.state_dict())
    motion = zero_init(MotionModel(CONFIG))
    with attached(unet, motion.blocks(), frames=5):
        assert hooks(unet) == len(CONFIG.modules())
        assert list(unet.state_dict()) == keys
        assert torch.equal(run(unet), before)
    assert hooks(unet) == 0
    assert torch.equal(run(unet), before)


def test_frames_of_a_clip_meet_and_clips_do_not(unet: nn.Module) -> None:
    torch.manual_seed(2)
    motion = MotionModel(CONFIG)
    with attached(unet, motion.blocks(), frames=5):
        both = run(unet)
    with attached(unet, motion.blocks(), frames=10):
        one = run(unet)
    assert not torch.allclose(both, run(unet), rtol=0.01)
    assert not torch.allclose(both, one, rtol=0.01)


def test_strength_scales(unet: nn.Module) -> None:
    torch.manual_seed(3)
    motion, plain = MotionModel(CONFIG), run(unet)
    outputs = {}
    for strength in (0.0, 0.5, 1.0):
        with attached(unet, motion.blocks(), 5, strength):
            outputs[strength] = run(unet)
    assert torch.equal(outputs[0.0], plain)
    apart = [float((outputs[s] - plain).norm()) for s in (0.0, 0.5, 1.0)]
    assert apart[0] < apart[1] < apart[2]


def test_an_error_inside_leaves_no_hook(unet: nn.Module) -> None:
    def fail() -> None:
        with attached(unet, MotionModel(CONFIG).blocks(), frames=5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert hooks(unet) == 0


def test_wrong_batch_and_wrong_networks_are_refused(unet: nn.Module) -> None:
    with (
        attached(unet, MotionModel(CONFIG).blocks(), frames=4),
        pytest.raises(AttachError, match="got a batch of 10; expected a multiple of 4 frames"),
    ):
        run(unet)
    assert hooks(unet) == 0
    with pytest.raises(AttachError, match="got a Linear"):
        motion_sites(nn.Linear(1, 1))
    with pytest.raises(AttachError, match="expected 11 for this UNet"):
        check_fit(unet, SD15_T2V.modules())
    gc.collect()
