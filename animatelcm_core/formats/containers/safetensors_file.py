"""Reading .safetensors files: the header is checked here, the tensors stay mapped on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from safetensors import safe_open
from torch import Tensor

from ..errors import DOWNLOAD_AGAIN, FormatError
from ..limits import MAX_ENTRIES, MAX_HEADER, MAX_RANK, MAX_SIZE
from ..words import reason, shown

METADATA = "__metadata__"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, mapped and in the file's own dtypes, and the file's metadata."""
    check_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except OSError:
        raise
    except Exception as error:  # the library's own, and torch's for an unknown dtype
        raise FormatError(
            f"{path.name}, which cannot be read: {reason(error)}", "safetensors", DOWNLOAD_AGAIN
        ) from error


def check_header(path: Path) -> None:
    """FormatError unless the header is one, within bounds, and the file as long as it says."""
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
        text = file.read(length)
    end = _end(_parse(text, path.name), path.name)
    if size < 8 + length + end:
        raise _truncated(path, size, 8 + length + end)


def _parse(text: bytes, name: str) -> dict[str, Any]:
    """The header's table."""
    try:
        header = json.loads(text, object_pairs_hook=_table, parse_constant=_refuse, parse_float=_refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} with a damaged header", "a safetensors header", DOWNLOAD_AGAIN) from error
    if not isinstance(header, dict):
        raise FormatError(f"{name} with a damaged header", "a safetensors header", DOWNLOAD_AGAIN)
    if len(header) > MAX_ENTRIES:
        raise FormatError(
            f"{name} with {len(header):,} tensors", f"at most {MAX_ENTRIES:,}", "Choose a weights file."
        )
    return header


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose names are all different: of two tensors of one name the library takes the last."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name twice")
    return table


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"no whole number: {text}")


def _end(header: Mapping[str, Any], name: str) -> int:
    """Bytes of numbers that the header speaks of; FormatError for an entry that cannot be."""
    end = 0
    for key, entry in header.items():
        if key == METADATA:
            if not (isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())):
                raise FormatError(f"{name} with odd metadata", "text for each name", DOWNLOAD_AGAIN)
        elif not _is_entry(entry):
            raise FormatError(
                f"{name} with a damaged header at {shown(key)}",
                "a dtype, a shape, and where the numbers begin and end",
                DOWNLOAD_AGAIN,
            )
        else:
            end = max(end, entry["data_offsets"][1])
    return end


def _is_entry(entry: object) -> bool:
    """Whether this can be what a header says of one tensor; the library compares shape and bytes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    if len(shape) > MAX_RANK or not all(type(number) is int for number in (*shape, *offsets)):
        return False
    return all(0 <= size <= MAX_SIZE for size in shape) and 0 <= offsets[0] <= offsets[1] < 2**63


def _truncated(path: Path, size: int, wanted: int) -> FormatError:
    return FormatError(
        f"{path.name}, cut off after {size:,} bytes",
        f"at least {wanted:,} bytes by its header",
        DOWNLOAD_AGAIN,
    )
