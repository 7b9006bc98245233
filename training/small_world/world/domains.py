"""The three ways a clip of the small world can look: clean, worn as found videos are, in another style.

The VAE learns all of them, as a released one has seen all kinds of pictures. Trained on clean ones alone it
gives clean pictures back whatever it is shown: blur, watermark and ink are gone after encoding (23 and 17
dB), and with them all that training on such data could change.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import clips as world
from . import degraded as worn
from . import ink_style as ink

KINDS: dict[str, Callable[[world.Clips, list[int]], Tensor]] = {
    "clean": world.draw,
    "worn": lambda clips, frames: worn.wear(world.draw(clips, frames)),
    "inked": ink.draw,
}


def pictures(kind: str, n: int, generator: torch.Generator, between: bool = False) -> Tensor:
    """(n, 3, 64, 64) in -1..1: one frame each of n new clips, of one of KINDS. between: as `sample_clips`."""
    clips = world.sample_clips(n, generator, between=between)
    frame = int(torch.randint(world.FRAMES, (), generator=generator))
    return KINDS[kind](clips, [frame])[:, 0] * 2 - 1
