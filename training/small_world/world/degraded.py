"""Degraded videos, as the web has them: a watermark in the corner, blur, captions that are often brief.

The paper's reason to decouple (Sec. 4.1): videos to learn motion from are worse than pictures to learn looks
from. Images of the small world stay clean (`draw`); these are its videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import SIZE, draw, sample_clips

BRIEF = 0.5  # share of captions that name the body alone
OPACITY = 0.6
_MARK = (
    "#####.#...#.####..####.",
    "#...#.##.##.#...#.#....",
    "#...#.#.#.#.#...#.###..",
    "#####.#...#.####..#....",
    "#...#.#...#.#.....####.",
)


@dataclass
class DegradedClips:
    """pixels: (n, f, 3, 64, 64) float32 in 0..1; captions of n clips; labels: (n, 3) body, colour, motion."""

    pixels: Tensor
    captions: list[str]
    labels: Tensor


def sample(n: int, generator: torch.Generator, labels: Tensor | None = None) -> DegradedClips:
    """n random videos; `labels` (n, 3) fixes what they show. Equal generators give equal videos."""
    clips = sample_clips(n, generator, labels)
    return DegradedClips(degrade(draw(clips)), captions(clips.captions(), generator), clips.labels)


def degrade(clips: Tensor) -> Tensor:
    """The same clips (n, f, 3, 64, 64) blurred and with the watermark; the mark itself is sharp."""
    # Blur: down to half the size and up again.
    small = F.avg_pool2d(clips.flatten(0, 1), 2)
    soft = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    # The mark over its shadow, dark beside light: it shows on every background.
    mark, shadow = watermark(), watermark(shift=1)
    soft = soft * (1 - OPACITY * shadow * (1 - mark))
    soft = soft * (1 - OPACITY * mark) + OPACITY * mark
    return soft.unflatten(0, clips.shape[:2])


def watermark(shift: int = 0) -> Tensor:
    """(64, 64), 1 where the mark is: five pixels high, in the lower right corner, `shift` pixels further."""
    rows, columns = corner()
    mark = torch.zeros(SIZE, SIZE)
    mark[rows, columns] = torch.tensor([[float(c == "#") for c in row] for row in _MARK])
    return mark.roll((shift, shift), (0, 1))


def corner() -> tuple[slice, slice]:
    """Rows and columns of the watermark, two pixels from the lower right."""
    end = SIZE - 2
    return slice(end - len(_MARK), end), slice(end - len(_MARK[0]), end)


def captions(full: list[str], generator: torch.Generator) -> list[str]:
    """Full captions, a share BRIEF of them reduced to the body: `a red fish swimming left` -> `a fish`."""
    dice = torch.rand(len(full), generator=generator).tolist()
    return [brief(text) if d < BRIEF else text for text, d in zip(full, dice, strict=True)]


def brief(caption: str) -> str:
    """Cut a full caption to its article and body."""
    article, _, body = caption.split()[:3]
    return f"{article} {body}"
