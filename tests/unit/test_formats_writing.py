"""Saving and converting: what is written, in which types, and what is left behind when it fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import seeded_files
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.formats import (
    SCHEDULE_KEY,
    FormatError,
    convert_motion,
    load_motion,
    published_tensors,
    read_tensors,
    save_motion,
    write_safetensors,
)
from animatelcm_core.motion_module import sinusoidal_positions


@pytest.fixture(scope="module")
def t2v() -> dict[str, Tensor]:
    return seeded_files.motion_tensors("animatelcm_t2v", dtype=torch.float32)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[key].dtype == right[key].dtype and torch.equal(left[key], right[key]) for key in left
    )


def test_the_writer_agrees_with_the_safetensors_library(tmp_path: Path) -> None:
    dtypes = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    ]
    tensors = {str(dtype): torch.randn(3, 5, 2).to(dtype) for dtype in dtypes}
    tensors |= {"int": torch.arange(7), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)}
    tensors |= {"bytes": torch.arange(9, dtype=torch.uint8), "int32": torch.arange(3, dtype=torch.int32)}
    tensors["view"] = torch.arange(12.0).reshape(3, 4).t()  # not contiguous
    specs = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    write_safetensors(tmp_path / "w.safetensors", specs, tensors.__getitem__, {"note": "eins \u00e4"})
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].float(), value.float())
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "eins \u00e4"}


def test_save_and_load(tmp_path: Path, t2v: dict[str, Tensor]) -> None:
    save_motion(tmp_path / "mm.safetensors", t2v, {"title": "mine"})
    found, metadata = read_tensors(tmp_path / "mm.safetensors")
    assert same(found, t2v)
    assert metadata["title"] == "mine"
    assert load_motion(found, metadata).kind == "animatelcm_t2v"


def test_save_in_16_bits(tmp_path: Path, t2v: dict[str, Tensor]) -> None:
    save_motion(tmp_path / "mm.safetensors", t2v, dtype=torch.float16)
    assert same(read_tensors(tmp_path / "mm.safetensors")[0], {k: v.half() for k, v in t2v.items()})


def test_nothing_is_written_that_could_not_be_loaded(tmp_path: Path, t2v: dict[str, Tensor]) -> None:
    key = next(iter(t2v))
    with pytest.raises(FormatError, match=key):
        save_motion(tmp_path / "mm.safetensors", t2v | {key: t2v[key] * float("nan")})
    with pytest.raises(FormatError):
        save_motion(tmp_path / "mm.safetensors", {"a": torch.ones(1)})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def make(name: str) -> Tensor:
        if name == "second":
            raise OSError(28, "No space left on device")
        return torch.zeros(1000)

    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, dict.fromkeys(["first", "second"], (torch.float32, (1000,))), make)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_tensor_that_is_not_what_was_announced(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got torch.float32"):
        write_safetensors(tmp_path / "w", {"a": (torch.float16, (2,))}, lambda _: torch.zeros(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is mapped")
def test_saving_over_the_file_that_is_being_read(tmp_path: Path, t2v: dict[str, Tensor]) -> None:
    path = tmp_path / "mm.safetensors"
    save_motion(path, t2v)
    found, _ = read_tensors(path)
    save_motion(path, found, dtype=torch.float16)
    assert read_tensors(path)[0][next(iter(t2v))].dtype == torch.float16
    assert same(found, t2v)


@pytest.mark.parametrize("layout", seeded_files.LAYOUTS)
def test_every_layout_converts_to_the_published_one(tmp_path: Path, layout: str) -> None:
    source, target = tmp_path / "mm.ckpt", tmp_path / "mm.safetensors"
    seeded_files.write_motion(source, layout, sizes=seeded_files.SMALL, dtype=torch.float32)
    file = convert_motion(source, target, torch.float16)
    found, metadata = read_tensors(target)
    again = load_motion(found, metadata)
    published = "animatediff_v2" if layout == "diffusers_motion_adapter" else layout
    assert same(found, seeded_files.motion_tensors(published))
    assert again.kind == published
    assert again.schedule == file.schedule == metadata[SCHEDULE_KEY]
    assert again.config == file.config


def test_conversion_keeps_what_the_name_told(tmp_path: Path) -> None:
    source, target = tmp_path / "AnimateLCM_diffusers.safetensors", tmp_path / "mm.safetensors"
    seeded_files.write_motion(source, "diffusers_motion_adapter", sizes=seeded_files.SMALL)
    convert_motion(source, target)
    assert load_motion(*read_tensors(target), target.name).schedule == "text to video"


def test_tables_of_their_own_survive(t2v: dict[str, Tensor]) -> None:
    tensors = seeded_files.motion_tensors("animatediff_v1", dtype=torch.float32)
    key = next(key for key in tensors if key.endswith("attention_blocks.0.pos_encoder.pe"))
    tensors[key] = sinusoidal_positions(24, tensors[key].shape[2])[None] * 2
    file = load_motion(tensors)
    assert list(file.positions) == [key.removesuffix(".pos_encoder.pe")]
    assert torch.equal(published_tensors(file)[key], tensors[key])
