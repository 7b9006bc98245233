"""Temporal transformer that turns an image UNet into a video UNet (paper 4.2, Eq. 9: z' = T(z) + z).

One `TemporalModule` per spatial layer. Inside it every pixel becomes a sequence over the frames:
group norm per frame, linear in, two self-attentions along time with sinusoidal positions, a GEGLU
feed-forward, linear out, added to the input. Parameter names are those of the published files; there are no
buffers, so `state_dict()` is the published layout.

`ops` is the namespace the layers come from: torch.nn in training, comfy.ops.manual_cast in ComfyUI.

Shape letters: b clips, f frames, d pixels (h w), c channels, n heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import MotionConfig

# A CUDA launch grid holds 65535 blocks along one axis; half of it is what the host itself allows a batch.
MAX_SEQUENCES = 2**15
# On a CPU, temporary tensors beyond its cache cost time of their own: in parts of this size a module with 320
# channels takes a tenth less, one with 1280 the same (16 frames of 32x32 and of 8x8).
CPU_ELEMENTS = 2**20


@lru_cache(maxsize=64)
def sinusoidal_positions(length: int, channels: int) -> Tensor:
    """Position table (length, channels), float32 on the CPU: even columns sine, odd columns cosine."""
    with torch.inference_mode(False):  # the cached tensor must stay usable in training
        position = torch.arange(length, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, channels, 2, dtype=torch.float32) * (-math.log(10000.0) / channels))
        table = torch.zeros(length, channels)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        return table


def sequences_at_once(x: Tensor) -> int:
    """How many sequences of x (s, f, c) to compute at once on its device."""
    if x.device.type == "cpu":
        return max(1, CPU_ELEMENTS // (x.shape[1] * x.shape[2]))
    return MAX_SEQUENCES


class TemporalAttention(nn.Module):
    """Self-attention along the frames of each pixel.

    `positions` replaces the sinusoid when a file carries a table of its own (frames, channels).
    It is a plain attribute, not a buffer: the host restores buffers by path and would mix two models up.
    """

    def __init__(self, channels: int, heads: int, ops: Any):
        super().__init__()
        self.heads = heads
        self.positions: Tensor | None = None
        self.to_q = ops.Linear(channels, channels, bias=False)
        self.to_k = ops.Linear(channels, channels, bias=False)
        self.to_v = ops.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([ops.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """x: (s, f, c), one sequence per pixel and clip."""
        frames, channels = x.shape[1:]
        table = sinusoidal_positions(frames, channels) if self.positions is None else self.positions[:frames]
        x = x + table.to(x)
        q, k, v = (
            rearrange(project(x), "s f (n c) -> s n f c", n=self.heads)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out[0](rearrange(out, "s n f c -> s f (n c)"))


class GEGLU(nn.Module):
    """Linear to twice the width, one half gating the other through a GELU."""

    def __init__(self, channels: int, inner: int, ops: Any):
        super().__init__()
        self.proj = ops.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU, (dropout, none here, keeps the published index 2), linear back."""

    def __init__(self, channels: int, ops: Any):
        super().__init__()
        self.net = nn.ModuleList(
            [GEGLU(channels, 4 * channels, ops), nn.Identity(), ops.Linear(4 * channels, channels)]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TemporalBlock(nn.Module):
    """Two temporal self-attentions and a feed-forward, each after a layer norm and added back."""

    def __init__(self, channels: int, heads: int, ops: Any):
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(channels, heads, ops) for _ in range(2)])
        self.norms = nn.ModuleList([ops.LayerNorm(channels) for _ in range(2)])
        self.ff = FeedForward(channels, ops)
        self.ff_norm = ops.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = attention(norm(x)) + x
        return self.ff(self.ff_norm(x)) + x


class TemporalTransformer(nn.Module):
    """Everything between the spatial layer's output and the residual that is added to it."""

    def __init__(self, channels: int, heads: int, ops: Any):
        super().__init__()
        self.norm = ops.GroupNorm(num_groups=32, num_channels=channels, eps=1e-6, affine=True)
        self.proj_in = ops.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, heads, ops)])
        self.proj_out = ops.Linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """x: ((b f), c, h, w) -> residual of the same shape. Statistics of the group norm are per frame."""
        height = x.shape[2]
        # One rearrangement for the whole block: all but attention acts on single tokens.
        h = rearrange(self.norm(x), "(b f) c h w -> (b h w) f c", f=frames)
        most = sequences_at_once(h)
        if h.shape[0] <= most:
            h = self.along_time(h)
        else:
            h = torch.cat([self.along_time(part) for part in h.split(most)])
        return rearrange(h, "(b h w) f c -> (b f) c h w", b=x.shape[0] // frames, h=height)

    def along_time(self, h: Tensor) -> Tensor:
        """h: (s, f, c), any pixels' sequences: they know nothing of each other."""
        h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h)
        return self.proj_out(h)


class TemporalModule(nn.Module):
    """One temporal module, `z + T(z)` (Eq. 9), under its published name `temporal_transformer`."""

    def __init__(self, channels: int, heads: int, ops: Any):
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, heads, ops)

    def forward(self, x: Tensor, frames: int, strength: float = 1.0) -> Tensor:
        """x: ((b f), c, h, w); a new tensor of the same shape. `strength` scales T."""
        residual = self.temporal_transformer(x, frames)
        return x + (residual if strength == 1.0 else strength * residual)


class _Level(nn.Module):
    def __init__(self, modules: list[TemporalModule]):
        super().__init__()
        self.motion_modules = nn.ModuleList(modules)


class MotionModel(nn.Module):
    """All temporal modules of one UNet. Never run as a whole: `attach` runs each after its spatial layer."""

    def __init__(self, config: MotionConfig, ops: Any = nn):
        super().__init__()
        self.config = config
        depth = len(config.channels)

        def level(channels: int, layers: int) -> _Level:
            return _Level([TemporalModule(channels, config.heads, ops) for _ in range(layers)])

        self.down_blocks = nn.ModuleList([level(c, config.layers_per_level) for c in config.channels])
        if config.has_mid:
            self.mid_block = level(config.channels[depth - 1], 1)
        self.up_blocks = nn.ModuleList(
            [level(c, config.layers_per_level + 1) for c in reversed(config.channels)]
        )

    def blocks(self) -> dict[str, TemporalModule]:
        """Published name -> module, e.g. `down_blocks.0.motion_modules.1`."""
        return {name: self.get_submodule(name) for name in self.config.modules()}  # type: ignore[misc]

    def set_positions(self, tables: Mapping[str, Tensor]) -> None:
        """Use a file's own position tables. Keys: names of attention blocks; values: (frames, channels)."""
        for name, table in tables.items():
            attention = self.get_submodule(name)
            assert isinstance(attention, TemporalAttention)
            attention.positions = table


def zero_init(model: MotionModel) -> MotionModel:
    """Zero every output projection: the inflated UNet then equals the image UNet bit for bit (paper 4.2)."""
    for module in model.blocks().values():
        nn.init.zeros_(module.temporal_transformer.proj_out.weight)
        nn.init.zeros_(module.temporal_transformer.proj_out.bias)
    return model
