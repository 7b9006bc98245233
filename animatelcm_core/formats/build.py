"""Builds a `MotionModel` and an `ImageEncoder` with the weights of a checked motion file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..image_encoder import ImageEncoder
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
    _load(model, file.motion, dtype, assign)
    tables = {key: value.to(torch.float32, copy=not assign) for key, value in file.positions.items()}
    model.set_positions(tables)
    return model


def build_image_encoder(
    file: MotionFile, ops: Any = nn, dtype: torch.dtype | None = None, assign: bool = False
) -> ImageEncoder | None:
    """The image encoder of `file`, as `build_motion_model` makes its motion model; None if it has none."""
    if not file.image_encoder:
        return None
    with torch.device("meta"):
        encoder = ImageEncoder(file.config.channels, ops)
    _load(encoder, file.image_encoder, dtype, assign)
    return encoder


def _load(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, assign: bool) -> None:
    module.requires_grad_(False).eval()
    weights = {key: value.to(dtype or value.dtype, copy=not assign) for key, value in tensors.items()}
    module.load_state_dict(weights, strict=True, assign=True)
