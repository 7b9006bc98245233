"""Checks the tensors of a file: names, shapes, floating point, finite numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .errors import FormatError
from .layout import INCOMPLETE, Shapes
from .words import shown

_CHUNK = 2**22  # numbers looked at together where a conversion makes a copy
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FLOATS += (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_layout(tensors: Mapping[str, Tensor], expected: Shapes, prefix: str = "") -> None:
    """FormatError naming the first tensor that is missing, misshapen, not floating point, or not expected."""
    for key, shape in expected.items():
        if key not in tensors:
            raise FormatError(
                f"no tensor {prefix}{key}",
                f"one of shape {shape} ({len(expected)} tensors in all)",
                INCOMPLETE,
            )
        _check_tensor(tensors[key], shape, prefix + key)
    unknown = next((key for key in tensors if key not in expected), None)
    if unknown:
        raise FormatError(
            f"the unknown tensor {prefix}{shown(unknown)} of shape {tuple(tensors[unknown].shape)}",
            f"the {len(expected)} tensors of a motion model",
            INCOMPLETE,
        )


def _check_tensor(tensor: Tensor, shape: tuple[int, ...], key: str) -> None:
    """FormatError unless the tensor has this shape, is dense and floating point."""
    if tuple(tensor.shape) != shape:
        raise FormatError(f"shape {tuple(tensor.shape)} for {key}", f"{shape}", INCOMPLETE)
    check_dtype(tensor, key)


def check_dtype(tensor: Tensor, key: str, dtypes: tuple[torch.dtype, ...] = FLOATS) -> None:
    """FormatError unless the tensor is dense and its numbers are of a kind that can be computed with."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in dtypes:
        wanted = "floating point" if dtypes is FLOATS else "floating point or whole numbers"
        raise FormatError(f"{tensor.dtype} numbers in {shown(key)}", wanted, INCOMPLETE)


def check_finite(tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """FormatError naming the first tensor with a NaN or an infinity. Reads every number once, copies none."""
    for key, tensor in tensors.items():
        if not is_finite(tensor):
            raise FormatError(
                f"numbers that are not finite in {prefix}{shown(key)}", "finite weights", INCOMPLETE
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite. A NaN wins over every number in the smallest and largest."""
    if not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # 8-bit floats have no arithmetic of their own
        parts = tensor.reshape(-1).split(_CHUNK)
        return all(bool(part.to(torch.float32).isfinite().all()) for part in parts)
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor))
