"""The sizes that a small checkpoint says it has, checked before any network of these sizes is built.

Each number lies in a range, and all of them together speak of no more weights than the file holds: the host's
classes would build a network of a billion weights first and find out later that they are not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

METADATA_KEY = "animatelcm.shapes"
MAX_TEXT = 100_000  # characters of all sizes
SPARE = 20_000_000  # weights, beyond twice the file's, that an estimate may be wrong by

_LEVELS = 16
_DEPTHS = (-2, 32)
# part -> name -> smallest and largest number; a list of numbers where `_LISTS` names it
_NUMBERS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "unet": {
        "in_channels": (1, 64),
        "out_channels": (1, 64),
        "model_channels": (1, 4096),
        "channel_mult": (1, 64),
        "num_res_blocks": (1, 16),
        "transformer_depth": _DEPTHS,
        "transformer_depth_output": _DEPTHS,
        "transformer_depth_middle": _DEPTHS,
        "context_dim": (1, 16384),
        "num_heads": (-1, 256),
    },
    "text": {
        "hidden_size": (1, 8192),
        "intermediate_size": (1, 65536),
        "num_hidden_layers": (1, 64),
        "num_attention_heads": (1, 256),
        "max_position_embeddings": (1, 16384),
        "vocab_size": (1, 2**20),
    },
    "ddconfig": {
        "ch": (1, 4096),
        "ch_mult": (1, 64),
        "num_res_blocks": (1, 16),
        "z_channels": (1, 64),
        "in_channels": (1, 64),
        "out_ch": (1, 64),
        "resolution": (1, 8192),
    },
}
_LISTS: Mapping[str, tuple[str, ...]] = {
    "unet": ("channel_mult", "num_res_blocks", "transformer_depth", "transformer_depth_output"),
    "text": (),
    "ddconfig": ("ch_mult",),
}
_OPTIONAL = ("vocab_size",)
_OTHERS = (-1, 65535)  # every number that no table names


class SizesError(ValueError):
    """What is wrong with the sizes, for the end of a sentence."""


def parse_sizes(text: str) -> dict[str, Any]:
    """The sizes of `unet`, `text` and `vae`. Raises SizesError for those that no network has."""
    if len(text) > MAX_TEXT:
        raise SizesError(f"{len(text):,} characters of sizes")
    try:
        sizes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SizesError("sizes that are no JSON text") from error
    if not isinstance(sizes, dict) or not all(
        isinstance(sizes.get(p), dict) for p in ("unet", "text", "vae")
    ):
        raise SizesError("no sizes of unet, text and vae")
    decoder = sizes["vae"].get("ddconfig")
    if not isinstance(decoder, dict):
        raise SizesError("no ddconfig of the vae")
    for part, table in (("unet", sizes["unet"]), ("text", sizes["text"]), ("ddconfig", decoder)):
        _check_part(part, table)
    _check_number("vae", "embed_dim", sizes["vae"].get("embed_dim"), (1, 64))
    _check_lengths(sizes["unet"])
    return sizes


def _check_part(part: str, table: Mapping[str, Any]) -> None:
    known = _NUMBERS[part]
    for name, bounds in known.items():
        value = table.get(name)
        if name in _OPTIONAL and value is None:
            continue
        numbers = [value]
        several = name in _LISTS[part]
        if several and isinstance(value, list):
            numbers = value
            if not 1 <= len(numbers) <= 4 * _LEVELS:
                raise SizesError(f"{len(numbers)} numbers for {part}.{name}")
        elif several:
            raise SizesError(f"no list of numbers for {part}.{name}")
        for number in numbers:
            _check_number(part, name, number, bounds)
    for name, value in table.items():
        if name not in known:
            for number in value if isinstance(value, list) else [value]:
                if type(number) is int:
                    _check_number(part, name, number, _OTHERS)
                elif not isinstance(number, bool | float | str | None):
                    raise SizesError(f"a table for {part}.{name}")


def _check_number(part: str, name: str, value: object, bounds: tuple[int, int]) -> None:
    if type(value) is not int or not bounds[0] <= value <= bounds[1]:
        raise SizesError(f"no whole number from {bounds[0]} to {bounds[1]} for {part}.{name}")


def _check_lengths(unet: Mapping[str, Any]) -> None:
    """SizesError unless the UNet's lists belong to each other."""
    blocks = unet["num_res_blocks"]
    if len(unet["channel_mult"]) > _LEVELS or len(blocks) != len(unet["channel_mult"]):
        raise SizesError("channel_mult and num_res_blocks of different lengths")
    if len(unet["transformer_depth"]) != sum(blocks):
        raise SizesError(f"no {sum(blocks)} numbers for unet.transformer_depth")
    if len(unet["transformer_depth_output"]) != sum(blocks) + len(blocks):
        raise SizesError(f"no {sum(blocks) + len(blocks)} numbers for unet.transformer_depth_output")


def check_weights(sizes: Mapping[str, Any], tensors: Mapping[str, Tensor], unet_prefix: str) -> None:
    """SizesError for sizes that speak of far more weights than these tensors have."""
    unet = sum(t.numel() for key, t in tensors.items() if key.startswith(unet_prefix))
    others = sum(t.numel() for t in tensors.values()) - unet
    wanted = {
        "unet": (_unet_weights(sizes["unet"]), unet),
        "text": (_text_weights(sizes["text"]), others),
        "vae": (_vae_weights(sizes["vae"]["ddconfig"]), others),
    }
    for part, (weights, given) in wanted.items():
        if weights > 2 * given + SPARE:
            raise SizesError(f"sizes of some {weights:,} weights for the {part}, and {given:,} weights")


def _unet_weights(unet: Mapping[str, Any]) -> int:
    """About how many weights a UNet has: its convolutions and transformers."""
    widths = [unet["model_channels"] * mult for mult in unet["channel_mult"]]
    down = [width for width, count in zip(widths, unet["num_res_blocks"], strict=True) for _ in range(count)]
    up = [w for w, count in zip(widths, unet["num_res_blocks"], strict=True) for _ in range(count + 1)]
    context = unet["context_dim"]
    total = sum(20 * width**2 for width in (*down, *up[::-1], widths[-1], widths[-1]))
    total += _transformers(zip(down, unet["transformer_depth"], strict=True), context)
    total += _transformers(zip(up[::-1], unet["transformer_depth_output"][::-1], strict=True), context)
    return total + _transformers([(widths[-1], unet["transformer_depth_middle"])], context)


def _transformers(layers: Iterable[tuple[int, int]], context: int) -> int:
    return sum(max(depth, 0) * (18 * width**2 + 2 * width * context) for width, depth in layers)


def _text_weights(text: Mapping[str, Any]) -> int:
    width = text["hidden_size"]
    layer = 4 * width**2 + 2 * width * text["intermediate_size"]
    words = (text.get("vocab_size") or 49408) + text["max_position_embeddings"]
    return text["num_hidden_layers"] * layer + words * width


def _vae_weights(decoder: Mapping[str, Any]) -> int:
    widths = [decoder["ch"] * mult for mult in decoder["ch_mult"]]
    blocks = 2 * decoder["num_res_blocks"] + 1  # of encoder and decoder
    return sum(18 * blocks * width**2 for width in widths) + 80 * widths[-1] ** 2
