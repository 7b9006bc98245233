"""The makers of test files: sizes of the real files, and numbers that depend on the seed alone."""

from __future__ import annotations

from math import prod
from pathlib import Path

import motion_layouts
import pytest
import sd15_layout
import seeded_files
import torch
from safetensors import safe_open

from animatelcm_core.formats import identify, read_tensors

FULL, SMALL = sd15_layout.FULL, sd15_layout.SMALL


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(prod(shape) for key, shape in shapes.items() if "pos_e" not in key)


@pytest.mark.parametrize(
    ("layout", "tensors", "count"),
    [
        ("animatelcm_t2v", 546, 453_209_280),
        ("animatelcm_i2v", 546 + 38, 453_209_280 + 76_827_840),
        ("animatediff_v1", 560, 417_137_600),
        ("animatediff_v2", 588, 453_209_280),
        ("animatediff_v3", 560, 417_137_600),
        ("diffusers_motion_adapter", 546 + 21, 453_209_280),
    ],
)
def test_motion_files_have_the_published_sizes(layout: str, tensors: int, count: int) -> None:
    shapes = motion_layouts.motion_shapes(layout, FULL.channels)
    assert (len(shapes), parameters(shapes)) == (tensors, count)


def test_image_encoder_has_the_published_size() -> None:
    shapes = motion_layouts.encoder_shapes(FULL.channels)
    assert (len(shapes), parameters(shapes)) == (38, 76_827_840)
    assert [key for key in shapes if "in_conv.weight" in key] == [
        f"img_encoder.body.{i}.in_conv.weight" for i in (2, 4)
    ]


@pytest.mark.parametrize("sizes", [FULL, SMALL])
def test_lora_changes_278_layers(sizes: sd15_layout.Sizes) -> None:
    shapes = sd15_layout.lora_shapes(sizes, 64)
    assert len(sd15_layout.lora_targets(sizes)) == 278
    assert len(shapes) == 834
    if sizes == FULL:
        assert parameters({k: s for k, s in shapes.items() if not k.endswith("alpha")}) == 67_252_224


def test_checkpoint_has_the_parts_of_sd15() -> None:
    counts = [
        (len(shapes), parameters(shapes))
        for shapes in (
            sd15_layout.unet_shapes(FULL),
            sd15_layout.vae_shapes(FULL),
            {k: s for k, s in sd15_layout.text_shapes(FULL).items() if not k.endswith("position_ids")},
        )
    ]
    assert counts == [(686, 859_520_964), (248, 83_653_863), (196, 123_060_480)]


def test_numbers_depend_on_seed_and_name_alone(tmp_path: Path) -> None:
    one, two = (seeded_files.motion_tensors("animatelcm_t2v", seed=seed) for seed in (1, 2))
    key = "up_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight"
    assert not torch.equal(one[key], two[key])
    seeded_files.write_motion(tmp_path / "a.ckpt", "animatediff_v2", 2, SMALL, torch.float32)
    assert torch.equal(read_tensors(tmp_path / "a.ckpt")[0][key].half(), two[key])


def test_small_files_are_the_kinds_they_claim(tmp_path: Path) -> None:
    checkpoint = seeded_files.write_sd15(tmp_path / "sd.safetensors", sizes=SMALL)
    lora = seeded_files.write_lora(tmp_path / "lora.safetensors", sizes=SMALL)
    assert identify(read_tensors(checkpoint)[0]).words == "a checkpoint"
    assert identify(read_tensors(lora)[0]).words == "a LoRA"
    with safe_open(checkpoint, "pt") as file:
        assert file.get_slice("model.diffusion_model.out.2.weight").get_shape() == [4, 32, 3, 3]
        assert "animatelcm.shapes" in file.metadata()
