"""From a checked motion file to a `MotionModel` with its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..motion_module import MotionModel
from .motion_file import MotionFile


def build_motion_model(
    file: MotionFile, ops: Any = nn, dtype: torch.dtype | None = None, assign: bool = False
) -> MotionModel:
    """The motion model of `file` on the CPU, frozen, in evaluation mode.

    ops: namespace the layers come from (torch.nn, comfy.ops.manual_cast).
    dtype: of the weights; None keeps the file's.
    assign: True makes the file's mapped tensors the weights, without a copy (never write to them, and keep
        the file in place); False copies them.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = MotionModel(file.config, ops)
    model.requires_grad_(False)
    weights = {key: value.to(dtype or value.dtype, copy=not assign) for key, value in file.motion.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    tables = {key: value.to(torch.float32, copy=not assign) for key, value in file.positions.items()}
    model.set_positions(tables)
    return model.eval()
