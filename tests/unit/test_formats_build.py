"""`build_motion_model`: the modules hold the file's numbers and act as the published ones."""

from __future__ import annotations

import pytest
import seeded_files
import torch
from einops import rearrange
from torch import Tensor

from animatelcm_core.config import MotionConfig
from animatelcm_core.formats import HEADS_KEY, build_motion_model, load_motion
from animatelcm_core.motion_module import MotionModel


@pytest.fixture(scope="module")
def t2v() -> dict[str, Tensor]:
    return seeded_files.motion_tensors("animatelcm_t2v")


@pytest.mark.parametrize("assign", [False, True])
def test_built_model_holds_the_files_numbers(t2v: dict[str, Tensor], assign: bool) -> None:
    model = build_motion_model(load_motion(t2v), assign=assign)
    state = model.state_dict()
    assert state.keys() == t2v.keys()
    for key, value in t2v.items():
        assert torch.equal(state[key], value)
        assert state[key].dtype == torch.float16
        assert (state[key].data_ptr() == value.data_ptr()) == assign
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_built_model_in_another_dtype(t2v: dict[str, Tensor]) -> None:
    model = build_motion_model(load_motion(t2v), dtype=torch.float32)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_heads_reach_the_modules() -> None:
    tensors = MotionModel(MotionConfig(channels=(64, 128), heads=4)).state_dict()
    x = torch.randn(4, 64, 2, 2)
    name = "down_blocks.0.motion_modules.0"
    four = build_motion_model(load_motion(tensors, {HEADS_KEY: "4"})).blocks()[name](x, 4)
    eight = build_motion_model(load_motion(tensors)).blocks()[name](x, 4)
    assert not torch.allclose(four, eight)


def test_every_pixel_of_every_frame_keeps_its_place(t2v: dict[str, Tensor]) -> None:
    """A module acts on each pixel alone: mirroring the picture mirrors the result."""
    block = build_motion_model(load_motion(t2v), dtype=torch.float32).blocks()[
        "down_blocks.0.motion_modules.0"
    ]
    x = rearrange(torch.randn(2, 5, 32, 3, 4), "b f c h w -> (b f) c h w")
    torch.testing.assert_close(block(x.flip(3), 5), block(x, 5).flip(3), rtol=1e-4, atol=1e-5)


def test_diffusers_own_network_agrees() -> None:
    """diffusers' MotionAdapter and ours compute the same from the same file.

    diffusers normalises over all frames at once, the authors each frame: a clip whose frames are one picture,
    shifted, has equal statistics both ways.
    """
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    adapter = diffusers.MotionAdapter(block_out_channels=(32, 64), motion_max_seq_length=32).eval()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model = build_motion_model(load_motion(adapter.state_dict()))
    picture = torch.randn(1, 64, 4, 6)
    clip = torch.cat([picture.roll(i, dims=3) for i in range(6)])
    with torch.no_grad():
        wanted = adapter.down_blocks[1].motion_modules[1](clip, num_frames=6)
        found = model.blocks()["down_blocks.1.motion_modules.1"](clip, 6)
    torch.testing.assert_close(
        found, wanted[0] if isinstance(wanted, tuple) else wanted, rtol=1e-4, atol=1e-4
    )
    assert (found - clip).abs().max() > 0.1
