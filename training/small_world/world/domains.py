"""The three domains, ways a clip can look: clean, degraded as videos on the web, drawn in ink.

The VAE learns all of them, as a released one has seen all kinds of pictures. Trained on clean ones alone it
gives clean pictures back whatever goes in: blur, watermark and ink are gone after encoding (23 and 17
dB), and with them all that training on such data could change.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import degraded, ink_style
from .clips import FRAMES, Clips, draw, sample_clips

DOMAINS: dict[str, Callable[[Clips, list[int]], Tensor]] = {
    "clean": draw,
    "degraded": lambda clips, frames: degraded.degrade(draw(clips, frames)),
    "ink": ink_style.draw,
}


def pictures(domain: str, n: int, generator: torch.Generator, between: bool = False) -> Tensor:
    """(n, 3, 64, 64) in -1..1: a frame each of n new clips, of one of DOMAINS. between: of `sample_clips`."""
    clips = sample_clips(n, generator, between=between)
    frame = int(torch.randint(FRAMES, (), generator=generator))
    return DOMAINS[domain](clips, [frame])[:, 0] * 2 - 1
