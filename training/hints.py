"""Makes the hints of a batch: edges of its frames, or the hints that the data brings along."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from animatelcm_core.edges import edges

from .base import Base
from .config import ConfigError, HintConfig
from .data.sample import Batch


def hints_of(config: HintConfig, batch: Batch, latents: Tensor, base: Base) -> Tensor:
    """((b f), 3, h, w) float32 in 0..1, on the latents' device. latents: (b, f, 4, h/8, w/8).

    Edges are those of the batch's pictures, or of the decoded latents where it has none. Raises ConfigError
    for hints from a folder that the data does not bring along.
    """
    if config.kind == "folder":
        if batch.hints is None:
            raise ConfigError(
                "got hint.kind folder with data that brings no hints; expected data of kind videos or images "
                "with `hints`, the folder that has them"
            )
        return rearrange(batch.hints, "b f c h w -> (b f) c h w").to(latents.device)
    if batch.pixels is None:
        pictures = base.decode(rearrange(latents, "b f c h w -> (b f) c h w"))
    else:
        pictures = rearrange(batch.pixels, "b f c h w -> (b f) c h w").to(latents.device) / 2 + 0.5
    return edge_hints(config, pictures)


def edge_hints(config: HintConfig, pictures: Tensor) -> Tensor:
    """Edges of pictures (n, 3, h, w) in 0..1, of the same shape."""
    given = rearrange(pictures, "n c h w -> n h w c")
    found = edges(given, config.mode, config.low, config.high, config.sigma)
    return rearrange(found, "n h w c -> n c h w").contiguous()
