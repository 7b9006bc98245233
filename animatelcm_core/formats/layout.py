"""Names and shapes of the tensors in a motion file, in the published layout and in diffusers'.

The published layout is the authors': `down_blocks.0.motion_modules.1.temporal_transformer.<part>`, which is
`MotionModel`'s own. AnimateLCM's files hold no positions; AnimateDiff's hold a table per attention block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ..config import MotionConfig
from ..image_encoder import ImageEncoder
from ..motion_module import MotionModel
from .errors import FormatError
from .limits import MAX_LAYERS, MAX_LEVELS

Shapes = dict[str, tuple[int, ...]]

INCOMPLETE = "Download the file again, or choose an AnimateLCM or AnimateDiff motion model for SD1.5."
ENCODER_PREFIX = "img_encoder."
BLOCKS = re.compile(r"(down_blocks|mid_block|up_blocks)(?:\.([0-9]{1,4}))?\.motion_modules\.([0-9]{1,4})\.")
ATTENTIONS = tuple(f"temporal_transformer.transformer_blocks.0.attention_blocks.{i}" for i in (0, 1))

# diffusers' name of a part -> the published one, inside a block's first and only transformer block
_DIFFUSERS_PARTS = {
    "attn1.": "attention_blocks.0.",
    "attn2.": "attention_blocks.1.",
    "norm1.": "norms.0.",
    "norm2.": "norms.1.",
    "norm3.": "ff_norm.",
}
_PUBLISHED_PARTS = {published: diffusers for diffusers, published in _DIFFUSERS_PARTS.items()}
_OUTER, _INNER = "temporal_transformer.", "transformer_blocks.0."


@lru_cache(maxsize=16)
def _shapes(network: Callable[[Any], nn.Module], sizes: Hashable) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Key -> shape of every tensor of the network, which is built without memory for its weights."""
    with torch.device("meta"):
        state = network(sizes).state_dict()
    return tuple((key, tuple(value.shape)) for key, value in state.items())


def motion_shapes(config: MotionConfig) -> Shapes:
    """Published key -> shape of every tensor of a motion model, positions left out (546 for SD1.5)."""
    return dict(_shapes(MotionModel, config))


def position_shapes(config: MotionConfig) -> Shapes:
    """`<attention block>.pos_encoder.pe` -> (1, frames, channels) (42 for SD1.5)."""
    return {
        f"{name}.{attention}.pos_encoder.pe": (1, config.max_frames, channels)
        for name, channels in config.modules().items()
        for attention in ATTENTIONS
    }


def encoder_shapes(channels: tuple[int, ...]) -> Shapes:
    """Key without prefix -> shape of the image-to-video encoder for these level widths (38 for SD1.5)."""
    return dict(_shapes(ImageEncoder, channels))


def is_diffusers(keys: Iterable[str]) -> bool:
    """Whether motion keys are diffusers' MotionAdapter ones: nothing is called temporal_transformer."""
    motion = [key for key in keys if BLOCKS.match(key)]
    return bool(motion) and not any(".temporal_transformer." in key for key in motion)


def published_name(key: str) -> str:
    """diffusers' MotionAdapter name of a tensor -> the published name. A position table keeps its end."""
    block = BLOCKS.match(key)
    if block is None:
        return key
    return key[: block.end()] + _OUTER + _renamed(key[block.end() :], _DIFFUSERS_PARTS)


def diffusers_name(key: str) -> str:
    """The published name of a tensor -> diffusers' MotionAdapter name, the inverse of `published_name`."""
    block = BLOCKS.match(key)
    if block is None:
        return key
    return key[: block.end()] + _renamed(key[block.end() :].removeprefix(_OUTER), _PUBLISHED_PARTS)


def _renamed(part: str, names: Mapping[str, str]) -> str:
    """`transformer_blocks.0.<name>...` with its name exchanged; other parts have one name in both layouts."""
    for name, other in names.items():
        if part.startswith(_INNER + name):
            return _INNER + other + part[len(_INNER + name) :]
    return part


def _check_counts(levels: int, layers: int) -> None:
    """FormatError for more blocks than a network has."""
    if levels > MAX_LEVELS or layers > MAX_LAYERS:
        raise FormatError(
            f"names of {levels} levels of {layers} layers",
            f"at most {MAX_LEVELS} levels of {MAX_LAYERS} layers",
            INCOMPLETE,
        )


def read_config(shapes: Mapping[str, tuple[int, ...]], heads: int, max_frames: int) -> MotionConfig:
    """Sizes of the motion model that these published names and shapes belong to.

    Raises FormatError naming the first tensor without which the sizes cannot be read.
    """
    blocks = [found.groups() for key in shapes if (found := BLOCKS.match(key))]
    layers = {int(layer) for side, level, layer in blocks if side == "down_blocks" and level == "0"}
    levels = {int(level) for side, level, _ in blocks if side == "down_blocks" and level is not None}

    def width(level: int, layer: int) -> int:
        key = f"down_blocks.{level}.motion_modules.{layer}.temporal_transformer.norm.weight"
        if len(shapes.get(key, ())) != 1:
            raise FormatError(f"no usable tensor {key}", "a complete motion model", INCOMPLETE)
        return shapes[key][0]

    _check_counts(max(levels, default=0) + 1, max(layers, default=0) + 1)
    for layer in range(max(layers, default=0) + 1):  # stops at the first gap: numbers in a file can be absurd
        width(0, layer)
    return MotionConfig(
        channels=tuple(width(level, 0) for level in range(max(levels, default=0) + 1)),
        layers_per_level=max(layers, default=0) + 1,
        has_mid=any(side == "mid_block" for side, _, _ in blocks),
        heads=heads,
        max_frames=max_frames,
    )
