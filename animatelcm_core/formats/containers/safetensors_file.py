"""Reading .safetensors files: the header is checked here, the tensors stay mapped on disk."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..errors import FormatError
from .heads import DOWNLOAD_AGAIN

MAX_HEADER = 100_000_000  # the limit of the safetensors library itself


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, mapped and in the file's own dtypes, and the file's metadata."""
    _check_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except OSError:
        raise
    except Exception as error:  # the library's own, and torch's for an unknown dtype
        raise FormatError(
            f"{path.name}, which cannot be read: {error}", "safetensors", DOWNLOAD_AGAIN
        ) from error


def _check_header(path: Path) -> None:
    """FormatError that says how much of the file is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise FormatError(
                f"{path.name}, whose header claims {length:,} bytes",
                f"at most {MAX_HEADER:,}: this is not a safetensors file, or a damaged one",
                DOWNLOAD_AGAIN,
            )
        if 8 + length > size:
            raise _truncated(path, size, 8 + length)
        try:
            header = json.loads(file.read(length))
            end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
            wanted = 8 + length + int(end)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise FormatError(
                f"{path.name} with a damaged header", "a safetensors header", DOWNLOAD_AGAIN
            ) from error
    if size < wanted:
        raise _truncated(path, size, wanted)


def _truncated(path: Path, size: int, wanted: int) -> FormatError:
    return FormatError(
        f"{path.name}, cut off after {size:,} bytes",
        f"at least {wanted:,} bytes by its header",
        DOWNLOAD_AGAIN,
    )
