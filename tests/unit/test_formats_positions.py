"""Position tables: the sinusoid is known through rounding, other tables are honoured, bad ones are named."""

from __future__ import annotations

import pytest
import seeded_files
import torch
from torch import Tensor

from animatelcm_core.config import SD15_T2V
from animatelcm_core.formats import FormatError, MotionFile, build_motion_model, load_motion
from animatelcm_core.formats.layout import position_shapes
from animatelcm_core.motion_module import sinusoidal_positions

FIRST = "down_blocks.0.motion_modules.0.temporal_transformer"
ATTENTION = f"{FIRST}.transformer_blocks.0.attention_blocks.1"


def tensors_of(layout: str) -> dict[str, Tensor]:
    return seeded_files.motion_tensors(layout)


def refusal(tensors: dict[str, Tensor]) -> str:
    with pytest.raises(FormatError) as caught:
        load_motion(tensors)
    return str(caught.value)


def with_tables(layout: str, change) -> MotionFile:
    """The file with every position table changed."""
    return load_motion({k: change(v) if "pos_e" in k else v for k, v in tensors_of(layout).items()})


def stretched(table: Tensor) -> Tensor:
    """A table made for half the frames, interpolated to all of them, as some modules carry."""
    rows = torch.arange(table.shape[1]) / 2
    below = table[:, rows.long()].float()
    return below + (rows % 1)[:, None] * (table[:, rows.long() + 1].float() - below)


@pytest.mark.parametrize("layout", ["animatediff_v1", "animatediff_v2", "diffusers_motion_adapter"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_the_sinusoid_is_recognised_through_rounding(layout: str, dtype: torch.dtype) -> None:
    assert with_tables(layout, lambda table: table.to(dtype)).positions == {}
    assert with_tables(layout, lambda table: table.to(dtype).float()).positions == {} or dtype.itemsize == 1


@pytest.mark.parametrize("layout", ["animatediff_v2", "diffusers_motion_adapter"])
def test_other_tables_are_kept_and_used(layout: str) -> None:
    file = with_tables(layout, stretched)
    assert len(file.positions) == 42
    assert file.positions[ATTENTION].shape == (32, 32)
    plain = load_motion(tensors_of(layout))
    x = torch.randn(8, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    name = "down_blocks.0.motion_modules.0"
    own, usual = (build_motion_model(f, dtype=torch.float32).blocks()[name](x, 8) for f in (file, plain))
    assert (own - usual).norm() > 1e-3 * (usual - x).norm()
    # and it is this table: the module computes what it would with the table put in by hand
    model = build_motion_model(plain, dtype=torch.float32)
    table = stretched(sinusoidal_positions(32, 32)[None].half())[0]
    model.set_positions({f"{FIRST}.transformer_blocks.0.attention_blocks.{i}": table for i in (0, 1)})
    torch.testing.assert_close(model.blocks()[name](x, 8), own)


def test_a_table_a_little_off_is_not_the_sinusoid() -> None:
    assert with_tables("animatediff_v2", lambda table: table.float() * 1.01).positions


def test_positions_of_the_authors_training_code() -> None:
    t2v = tensors_of("animatelcm_t2v")
    names = (f"{key[: -len('pe')]}pos_encoding" for key in position_shapes(SD15_T2V))
    tables = {key: sinusoidal_positions(64, t2v[_norm_of(key)].shape[0])[None] for key in names}
    file = load_motion(t2v | tables)
    assert file.kind == "animatelcm_t2v"
    assert file.positions == {}
    assert file.config.max_frames == 64


def _norm_of(position_key: str) -> str:
    return position_key.split(".transformer_blocks")[0] + ".norm.weight"


def test_bad_tables_are_named() -> None:
    tensors = tensors_of("animatediff_v1")
    key = f"{ATTENTION}.pos_encoder.pe"
    assert ATTENTION in refusal({k: v for k, v in tensors.items() if k != key})
    assert ATTENTION in refusal(tensors | {key: tensors[key][:, :20]})
    assert "(1, frames, channels)" in refusal(
        {k: v.flatten() if k.endswith(".pe") else v for k, v in tensors.items()}
    )
    assert f"positions of {ATTENTION}" in refusal(tensors | {key: tensors[key] * float("nan")})
    assert "positions at" in refusal(
        tensors | {"down_blocks.0.motion_modules.7.pos_encoder.pe": tensors[key]}
    )
