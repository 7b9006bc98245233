"""Writing .safetensors files one tensor at a time, and never half a file under the final name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ...atomic import replacing

Specs = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
}


def write_safetensors(
    path: str | PathLike[str],
    specs: Specs,
    make: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a file of the tensors in `specs` (name -> dtype, shape), asking `make` for one after the other.

    Memory in use is one tensor. A file of that name is replaced only when the new one is complete on disk.
    Raises OSError if it cannot be written, ValueError if a tensor is not what its spec says.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, (dtype, shape) in specs.items():
        start, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    with replacing(Path(path)) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, (dtype, shape) in specs.items():
            tensor = make(name).detach().to("cpu")
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise ValueError(
                    f"got {tensor.dtype} {tuple(tensor.shape)} for {name}; expected {dtype} {shape}"
                )
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
