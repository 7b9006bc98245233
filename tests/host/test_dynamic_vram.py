"""The on-demand patcher that NVIDIA cards get by default, run on the CPU: its traps, one process each.

Results must be those of the ordinary patcher in this process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.scenarios import scenario
from support.studio import Studio, hooked, relative
from torch import Tensor


@pytest.fixture(autouse=True)
def _has_it(studio: Studio) -> None:
    if not hasattr(studio.comfy.module("comfy.model_patcher"), "ModelPatcherDynamic"):
        pytest.skip("this ComfyUI has no on-demand patcher")


def run(studio: Studio, folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return scenario(studio.comfy.host.path, folder, name)


def test_schedules_in_every_order(studio: Studio, tmp_path: Path) -> None:
    found, tensors = run(studio, tmp_path, "orders")
    lcm = [999, 749, 499, 249]
    expected = {"base": [999, 666, 333, 0], "t2v": lcm, "i2v": lcm}
    assert found["steps"] == [
        [name, expected[name]] for name in ("base", "t2v", "base", "i2v", "t2v", "base")
    ]
    assert found["tables"] == [1000, pytest.approx(14.6146, rel=1e-4)]
    assert torch.equal(tensors["base"], tensors["base_again"])
    assert torch.equal(tensors["base"], tensors["base_at_last"])
    assert torch.equal(tensors["t2v"], tensors["t2v_again"])
    assert relative(tensors["i2v"], tensors["t2v"]) > 0.1
    ordinary = studio.ksampler(studio.video(), 8, cfg=1.5, steps=4)
    assert torch.equal(tensors["t2v"], ordinary)


def test_lazy_weights(studio: Studio, tmp_path: Path) -> None:
    found, tensors = run(studio, tmp_path, "lazy")
    assert found["lazy"]  # else this tests nothing
    assert found["dynamic"]
    assert found["loaded"]
    assert found["count"] == len(list(studio.motion.model.parameters()))
    assert found["size"] == studio.motion.patcher.model_size()
    assert torch.equal(tensors["t2v"], studio.sample(studio.video(), cfg=1.5))


def test_read_only_mapped_files(studio: Studio, tmp_path: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("memory maps are told on Linux only")
    found, tensors = run(studio, tmp_path, "mapped")
    assert found["mapped"]
    assert found["protected"][0] > 0
    assert found["protected"][1]
    assert torch.equal(tensors["t2v"], studio.sample(studio.video(), cfg=1.5))
    assert relative(tensors["lora"], tensors["t2v"]) > 0.01


def test_condition_hooks_on_another_instance(studio: Studio, tmp_path: Path) -> None:
    found, tensors = run(studio, tmp_path, "hooks")
    assert found["same_instance"] == [False]
    assert found["left"] == 0
    positive, negative = hooked(studio, studio.positive), hooked(studio, studio.negative)
    ordinary = studio.sample(studio.video(), cfg=1.5, positive=positive, negative=negative)
    assert relative(tensors["hooked"], ordinary) < 1e-5
    assert torch.equal(tensors["t2v"], studio.sample(studio.video(), cfg=1.5))


def test_adapters_with_a_lora(studio: Studio, tmp_path: Path) -> None:
    """Large layers get no LoRA in this mode on a CPU (support/dynamic_vram_on_cpu.py): a ControlNet's numbers
    tell only that it is another network than the plain one, which stays as it was."""
    found, tensors = run(studio, tmp_path, "control")
    assert found["dynamic"] == [True, True]
    assert found["patches"] == 143
    for kind in ("controlnet", "t2i_adapter"):
        plain, adapted, again = (tensors[f"{kind}_{when}"] for when in ("plain", "adapted", "again"))
        assert torch.equal(plain, again)
        assert relative(adapted, plain) > 1e-4
