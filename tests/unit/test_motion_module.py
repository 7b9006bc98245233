"""Temporal modules: positions, per-frame statistics, parts, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from animatelcm_core import motion_module
from animatelcm_core.config import MotionConfig
from animatelcm_core.motion_module import MotionModel, TemporalModule, sinusoidal_positions


@pytest.fixture
def module() -> TemporalModule:
    torch.manual_seed(0)
    return TemporalModule(32, 4, nn)


def test_positions_are_the_sinusoid() -> None:
    table = sinusoidal_positions(24, 320)
    assert table.shape == (24, 320)
    for frame, column in ((0, 0), (3, 10), (23, 319)):
        angle = frame * 10000 ** (-(column // 2 * 2) / 320)
        expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
        assert float(table[frame, column]) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(sinusoidal_positions(32, 320)[:24], table)
    with torch.inference_mode():
        assert not sinusoidal_positions(7, 32).is_inference()


def test_order_of_frames_matters(module: TemporalModule) -> None:
    x = torch.randn(6, 32, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        forward, backward = module(x, 6), module(x.flip(0), 6).flip(0)
    assert not torch.allclose(forward, backward, atol=1e-4)


def test_statistics_are_per_frame(module: TemporalModule) -> None:
    """A brighter frame does not change what the others are normalised to."""
    x = torch.randn(4, 32, 4, 4, generator=torch.Generator().manual_seed(2))
    louder = x.clone()
    louder[3] *= 10
    norm = module.temporal_transformer.norm
    assert torch.equal(norm(x)[:3], norm(louder)[:3])


def test_parts_make_no_difference(module: TemporalModule, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2 * 5, 32, 6, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        whole = module(x, 5)
        monkeypatch.setattr(motion_module, "CPU_ELEMENTS", 5 * 32 * 7)  # 48 sequences in parts of 7
        parts = module(x, 5)
    assert torch.allclose(whole, parts, atol=1e-6)


def test_gradients_reach_every_parameter(module: TemporalModule) -> None:
    x = torch.randn(5, 32, 4, 4, requires_grad=True)
    module(x, 5).square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_a_table_of_its_own_is_used() -> None:
    torch.manual_seed(1)
    model = MotionModel(MotionConfig(channels=(32,), heads=4))
    name = "down_blocks.0.motion_modules.0"
    block, x = model.blocks()[name], torch.randn(5, 32, 2, 2)
    attention = f"{name}.temporal_transformer.transformer_blocks.0.attention_blocks.0"
    with torch.no_grad():
        before = block(x, 5)
        model.set_positions({attention: sinusoidal_positions(32, 32)})
        assert torch.equal(block(x, 5), before)
        model.set_positions({attention: sinusoidal_positions(32, 32).flip(0)})
        assert not torch.allclose(block(x, 5), before, atol=1e-4)
    assert not any("positions" in key for key in model.state_dict())
    assert not list(model.buffers())
