"""Splits position tables off a motion file, checks them, and keeps those that differ from the sinusoid."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import MotionConfig
from ..motion_module import sinusoidal_positions
from .errors import FormatError
from .layout import ATTENTIONS, INCOMPLETE
from .limits import MAX_FRAMES
from .words import shown

# AnimateDiff's name, the authors' training code's, and diffusers' (one table for both attentions).
_TABLE = re.compile(r"(?P<owner>.+)\.(?:pos_encoder\.(?:pe|pos_encoding)|pos_embed\.pe)")


def split_positions(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All other tensors, and the position tables under the names of the attention blocks that they belong to.

    Names are the published ones; diffusers' table of a block is given to both of its attentions.
    """
    others: dict[str, Tensor] = {}
    tables: dict[str, Tensor] = {}
    for key, value in tensors.items():
        match = _TABLE.fullmatch(key)
        if match is None:
            others[key] = value
        elif key.endswith(".pos_embed.pe"):
            tables |= {f"{match['owner']}.attention_blocks.{i}": value for i in (0, 1)}
        else:
            tables[match["owner"]] = value
    return others, tables


def table_length(tables: Mapping[str, Tensor], default: int) -> int:
    """Rows of the first table, the longest clip that the file knows; `default` for a file without tables."""
    for name, table in tables.items():
        if table.ndim not in (2, 3):
            raise FormatError(
                f"positions of shape {tuple(table.shape)} at {shown(name)}",
                "(1, frames, channels)",
                INCOMPLETE,
            )
        if not 1 <= table.shape[-2] <= MAX_FRAMES:
            raise FormatError(
                f"positions for {table.shape[-2]:,} frames at {shown(name)}", f"1 to {MAX_FRAMES}", INCOMPLETE
            )
        return table.shape[-2]
    return default


def own_positions(tables: Mapping[str, Tensor], config: MotionConfig) -> dict[str, Tensor]:
    """Attention block -> (frames, channels), only tables that differ from the sinusoid by more than rounding.

    A file has a table for every attention block or none. Raises FormatError naming the first that is not so.
    """
    if not tables:
        return {}
    own: dict[str, Tensor] = {}
    wanted = {f"{name}.{attention}": c for name, c in config.modules().items() for attention in ATTENTIONS}
    for name, channels in wanted.items():
        if name not in tables:
            raise FormatError(f"no positions at {name}", f"{len(wanted)} tables, or none", INCOMPLETE)
        shape = (config.max_frames, channels)
        table = tables[name]
        if tuple(table.shape) not in (shape, (1, *shape)):
            raise FormatError(
                f"positions of shape {tuple(table.shape)} at {name}", f"(1, *{shape})", INCOMPLETE
            )
        if not is_sinusoid(table := table.reshape(shape)):
            own[name] = table
    unknown = next((name for name in tables if name not in wanted), None)
    if unknown:
        raise FormatError(f"positions at {shown(unknown)}", "positions of attention blocks only", INCOMPLETE)
    return own


def is_sinusoid(table: Tensor) -> bool:
    """Whether (frames, channels) is the standard table, stored in 16 bits somewhere on its way.

    Half a bfloat16 step below 1 is eps / 4; twice that is allowed, and the like for narrower types.
    """
    eps = max(torch.finfo(table.dtype).eps, torch.finfo(torch.bfloat16).eps)
    return bool((table.float() - sinusoidal_positions(*table.shape)).abs().max() <= eps / 2)
