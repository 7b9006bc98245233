"""Another style of the small world: ink on paper.

Warm paper with ruled lines instead of water, a thick black outline, flat colour with darker bands across the
body. Bodies, colours, motions, captions and light are the world's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .clips import SIZE, Clips, distances, towards_light

OUTLINE = 3.0  # pixels
BANDS = 5.0  # darker bands: radians a body's size
PAPER = (0.93, 0.88, 0.78)


def draw(clips: Clips, frames: list[int] | None = None) -> Tensor:
    """Styled pictures of the clips, (n, f, 3, 64, 64) float32 in 0..1; `frames` picks some of each clip."""
    at = distances(clips, frames)
    n, f = at.shape.shape[:2]
    picture = paper(clips)[:, None].expand(n, f, 3, SIZE, SIZE).clone()
    rgb = clips.rgb[:, None, :, None, None]
    at.paint(picture, at.shape - OUTLINE / at.size, 0.06)
    band = (torch.cos(2 * BANDS * at.u) * at.size / 4).clamp(-1, 1)[:, :, None]
    at.paint(picture, at.shape, rgb * (0.86 + 0.14 * band))
    at.paint_eyes(picture, (clips.motion != 0).float()[:, None, None, None])
    return picture


def paper(clips: Clips) -> Tensor:
    """(n, 3, 64, 64): paper with a ruled line every 8 pixels, in the light of the water it replaces."""
    behind, ahead = clips.background.mean(2).unbind(1)
    fall = (behind / ahead)[:, None, None, None]
    bright = (0.72 + 0.28 * ahead)[:, None, None, None] * (fall + (1 - fall) * towards_light(clips))
    lines = torch.ones(SIZE)
    lines[3::8] = 0.86
    return torch.tensor(PAPER)[None, :, None, None] * bright * lines[None, None, :, None]
