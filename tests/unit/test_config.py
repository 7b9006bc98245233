"""Sizes of the released motion models."""

from __future__ import annotations

from math import prod

import pytest
import torch

from animatelcm_core.config import (
    SD15_T2V,
    MotionConfig,
)
from animatelcm_core.motion_module import MotionModel

ANIMATEDIFF_V1 = MotionConfig(has_mid=False, max_frames=24)
ANIMATEDIFF_V2 = MotionConfig(max_frames=32)
ANIMATEDIFF_V3 = MotionConfig(has_mid=False, max_frames=32)


def shapes(config: MotionConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in MotionModel(config).state_dict().items()}


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [(SD15_T2V, 546, 453_209_280), (ANIMATEDIFF_V2, 546, 453_209_280), (ANIMATEDIFF_V1, 520, 417_137_600)],
)
def test_parameters_of_the_released_sizes(config: MotionConfig, tensors: int, parameters: int) -> None:
    found = shapes(config)
    assert len(found) == tensors
    assert sum(prod(shape) for shape in found.values()) == parameters


def test_modules_are_listed_in_the_order_of_the_unet() -> None:
    names = list(SD15_T2V.modules())
    assert len(names) == 21
    assert names[0] == "down_blocks.0.motion_modules.0"
    assert names[8] == "mid_block.motion_modules.0"
    assert names[-1] == "up_blocks.3.motion_modules.2"
    assert [SD15_T2V.modules()[name] for name in names[9::3]] == [1280, 1280, 640, 320]


def test_the_number_of_frames_changes_no_module() -> None:
    assert ANIMATEDIFF_V3.modules() == ANIMATEDIFF_V1.modules()


def test_every_module_of_a_config_exists_in_its_model() -> None:
    small = MotionConfig(channels=(64, 128), heads=4)
    with torch.device("meta"):
        blocks = MotionModel(small).blocks()
    assert list(blocks) == list(small.modules())
