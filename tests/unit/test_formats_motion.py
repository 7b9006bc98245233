"""`load_motion`: every layout is recognised, every tensor checked. Positions have a file of their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import motion_layouts
import pytest
import seeded_files
import torch
from torch import Tensor

from animatelcm_core.config import SD15_T2V, MotionConfig
from animatelcm_core.formats import (
    HEADS_KEY,
    SCHEDULE_KEY,
    FormatError,
    load_motion,
    read_tensors,
)
from animatelcm_core.formats.layout import (
    diffusers_name,
    encoder_shapes,
    motion_shapes,
    position_shapes,
    published_name,
)
from animatelcm_core.motion_module import MotionModel

SMALL = seeded_files.SMALL
FIRST = "down_blocks.0.motion_modules.0.temporal_transformer"
ATTENTION = f"{FIRST}.transformer_blocks.0.attention_blocks.1"
SCHEDULES = {"animatelcm_t2v": "text to video", "animatelcm_i2v": "image to video"}


@cache
def _made(layout: str) -> dict[str, Tensor]:
    return seeded_files.motion_tensors(layout)


def tensors_of(layout: str) -> dict[str, Tensor]:
    """A dictionary of its own; the tensors are shared, so tests replace them and never write to them."""
    return dict(_made(layout))


@pytest.fixture(scope="module")
def t2v() -> dict[str, Tensor]:
    return tensors_of("animatelcm_t2v")


def refusal(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    with pytest.raises(FormatError) as caught:
        load_motion(tensors, metadata)
    return str(caught.value)


@pytest.mark.parametrize(
    ("layout", "mid", "frames"),
    [
        ("animatelcm_t2v", True, 64),
        ("animatelcm_i2v", True, 64),
        ("animatediff_v1", False, 24),
        ("animatediff_v2", True, 32),
        ("animatediff_v3", False, 32),
        ("diffusers_motion_adapter", True, 32),
    ],
)
def test_every_layout_is_recognised(layout: str, mid: bool, frames: int) -> None:
    file = load_motion(tensors_of(layout))
    assert file.kind == layout
    assert file.config == MotionConfig(channels=SMALL.channels, has_mid=mid, max_frames=frames)
    assert file.schedule == SCHEDULES.get(layout, "animatediff")
    assert file.positions == {}
    assert list(file.motion) == list(motion_shapes(file.config))
    assert len(file.image_encoder) == (38 if layout == "animatelcm_i2v" else 0)


def test_core_shapes_are_the_published_ones() -> None:
    """The makers of test files and the core know the layouts independently."""
    channels = SD15_T2V.channels
    assert motion_shapes(SD15_T2V) == motion_layouts.motion_shapes("animatelcm_t2v", channels)
    v2 = MotionConfig(max_frames=32)
    both = motion_shapes(v2) | position_shapes(v2)
    assert both == motion_layouts.motion_shapes("animatediff_v2", channels)
    assert len(both) == 588
    encoder = {f"img_encoder.{key}": shape for key, shape in encoder_shapes(channels).items()}
    assert encoder == motion_layouts.encoder_shapes(channels)


def test_names_go_to_diffusers_and_back() -> None:
    names = motion_layouts.published_names(SD15_T2V.channels)
    assert len(names) == 546
    for diffusers, published in names.items():
        assert published_name(diffusers) == published
        assert diffusers_name(published) == diffusers
    assert diffusers_name("img_encoder.conv_in.weight") == "img_encoder.conv_in.weight"


def test_diffusers_layout_is_translated(t2v: dict[str, Tensor]) -> None:
    file = load_motion(tensors_of("diffusers_motion_adapter"))
    assert file.motion.keys() == t2v.keys()
    assert all(torch.equal(file.motion[key], t2v[key]) for key in t2v)


def test_other_sizes_and_heads() -> None:
    torch.manual_seed(0)
    small = MotionConfig(channels=(64, 128), heads=4)
    tensors = MotionModel(small).state_dict()
    file = load_motion(tensors, {HEADS_KEY: "4", SCHEDULE_KEY: "animatediff"})
    assert file.config == small
    assert file.schedule == "animatediff"
    assert "channels 64, 128" in file.description
    one = MotionConfig(channels=(32,), layers_per_level=1, has_mid=False)
    assert load_motion(MotionModel(one).state_dict()).config == one


def test_whole_video_unets_of_training_give_their_motion_part(t2v: dict[str, Tensor]) -> None:
    image_layers = {
        "conv_in.weight": torch.zeros(32, 4, 3, 3),
        "down_blocks.0.resnets.0.conv1.weight": torch.zeros(32, 32, 3, 3),
    }
    file = load_motion(image_layers | t2v)
    assert file.motion.keys() == t2v.keys()


@pytest.mark.parametrize(
    ("name", "metadata", "schedule"),
    [
        ("mm_sd_v15_v2.ckpt", {}, "animatediff"),
        ("animatediffLCMMotion_v10.ckpt", {}, "text to video"),
        ("AnimateLCM/diffusion_pytorch_model.fp16.safetensors", {}, "text to video"),
        ("x.safetensors", {"modelspec.title": "AnimateLCM"}, "text to video"),
        ("x.safetensors", {HEADS_KEY: "8"}, "animatediff"),
        ("lcm.safetensors", {SCHEDULE_KEY: "soft"}, "soft"),
    ],
)
@pytest.mark.parametrize("layout", ["animatediff_v2", "diffusers_motion_adapter"])
def test_schedule_where_the_layout_does_not_tell(layout, name, metadata, schedule) -> None:
    assert load_motion(tensors_of(layout), metadata, name).schedule == schedule


def test_files_on_disk_in_both_containers(tmp_path: Path) -> None:
    paths = [tmp_path / "mm.safetensors", tmp_path / "mm.ckpt"]
    for path, dtype in zip(paths, (torch.float16, torch.float32), strict=True):
        seeded_files.write_motion(path, "animatelcm_i2v", sizes=SMALL, dtype=dtype)
    half, full = (load_motion(*read_tensors(path), path.name) for path in paths)
    assert {value.dtype for value in half.motion.values()} == {torch.float16}
    assert {value.dtype for value in full.motion.values()} == {torch.float32}
    assert all(torch.equal(half.motion[key].float(), full.motion[key]) for key in full.motion)
    assert half.kind == full.kind == "animatelcm_i2v"


@pytest.mark.parametrize(
    "key",
    [
        f"{FIRST}.norm.weight",
        f"{FIRST}.proj_out.bias",
        "down_blocks.2.motion_modules.0.temporal_transformer.norm.weight",
        "up_blocks.3.motion_modules.2.temporal_transformer.transformer_blocks.0.ff.net.2.weight",
        "mid_block.motion_modules.0.temporal_transformer.proj_in.weight",
    ],
)
def test_a_missing_tensor_is_named(t2v: dict[str, Tensor], key: str) -> None:
    assert key in refusal({k: v for k, v in t2v.items() if k != key})


def test_errors_name_the_file(t2v: dict[str, Tensor]) -> None:
    with pytest.raises(FormatError, match=r"got no tensor .*\.proj_out\.bias in my/mm\.ckpt; expected"):
        load_motion({k: v for k, v in t2v.items() if k != f"{FIRST}.proj_out.bias"}, {}, "my/mm.ckpt")


def test_a_missing_module_is_named(t2v: dict[str, Tensor]) -> None:
    name = "up_blocks.1.motion_modules.1."
    assert name in refusal({k: v for k, v in t2v.items() if not k.startswith(name)})


@pytest.mark.parametrize(
    "key",
    [
        f"{FIRST}.transformer_blocks.1.norms.0.weight",
        f"{ATTENTION}.to_q.bias",
        "down_blocks.0.motion_modules.2.temporal_transformer.norm.weight",
        "down_blocks.999999999.motion_modules.0.temporal_transformer.norm.weight",
        "scaled_fp8",
    ],
)
def test_an_unexpected_tensor_is_refused(t2v: dict[str, Tensor], key: str) -> None:
    text = refusal(t2v | {key: torch.zeros(32)})
    assert key in text or "down_blocks" in text


def test_shapes_are_checked(t2v: dict[str, Tensor]) -> None:
    key = f"{ATTENTION}.to_k.weight"
    assert f"got shape (32, 31) for {key}; expected (32, 32)" in refusal(t2v | {key: torch.zeros(32, 31)})
    flat = {f"{FIRST}.norm.weight": torch.zeros(())}
    assert f"{FIRST}.norm.weight" in refusal(t2v | flat)


@pytest.mark.parametrize("value", [torch.zeros(32, dtype=torch.int8), torch.zeros(32, dtype=torch.complex64)])
def test_only_floating_point_is_taken(t2v: dict[str, Tensor], value: Tensor) -> None:
    key = f"{FIRST}.proj_in.bias"
    assert f"{value.dtype} numbers in {key}" in refusal(t2v | {key: value})


def test_sparse_tensors_are_refused(t2v: dict[str, Tensor]) -> None:
    key = f"{FIRST}.proj_in.bias"
    assert key in refusal(t2v | {key: torch.zeros(32).to_sparse()})


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_named(
    t2v: dict[str, Tensor], dtype: torch.dtype, bad: float
) -> None:
    key = "up_blocks.2.motion_modules.1.temporal_transformer.proj_out.weight"
    value = t2v[key].float()
    value[-1, -1] = bad
    assert f"not finite in {key}" in refusal(t2v | {key: value.to(dtype)})


def test_image_encoder_is_checked() -> None:
    tensors = tensors_of("animatelcm_i2v")
    key = "img_encoder.body.2.in_conv.weight"
    assert key in refusal({k: v for k, v in tensors.items() if k != key})
    assert "img_encoder.extra" in refusal(tensors | {"img_encoder.extra": torch.zeros(1)})
    tensors["img_encoder.conv_in.bias"] = tensors["img_encoder.conv_in.bias"] * float("nan")
    assert "not finite in img_encoder.conv_in.bias" in refusal(tensors)


@pytest.mark.parametrize("heads", ["0", "-8", "eight", "5", ""])
def test_heads_that_cannot_be(t2v: dict[str, Tensor], heads: str) -> None:
    refusal(t2v, {HEADS_KEY: heads})


def test_unknown_schedule_in_the_metadata(t2v: dict[str, Tensor]) -> None:
    assert "'fast'" in refusal(t2v, {SCHEDULE_KEY: "fast"})


def test_widths_that_cannot_be() -> None:
    tensors = seeded_files.motion_tensors("animatelcm_t2v", sizes=seeded_files.Sizes(channels=(24, 24)))
    assert "multiple of 32" in refusal(tensors)
