"""FVD: Frechet distance between I3D's logits of generated and of real videos (paper 5, Benchmarks).

Videos are scaled until they cover 224 x 224 and cropped at the centre, as the authors did. The paper draws
2048 of each kind; with more at hand the draw is repeated, to show how much the number depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..data.errors import DataError, UnreadableMedia
from ..data.listing import inside, list_folder
from ..data.media import VIDEO_SUFFIXES, read_clip
from ..randomness import generator_for, permutation
from .i3d import CLASSES, I3D
from .metrics import frechet, real_versus_real
from .rows import cached_rows

SIZE = (224, 224)
LEAST = 9  # frames: after I3D's strides two are left to pool
DRAWS = 5


@dataclass(frozen=True)
class Real:
    """Real videos: every `stride`-th frame from a random place, `most` of the files drawn by `seed`."""

    root: Path
    stride: int = 1
    most: int = 4096
    seed: int = 0


@torch.inference_mode()
def logits(net: I3D, clip: Tensor) -> Tensor:
    """(400,) of a clip (f, 3, 224, 224) uint8."""
    x = clip.to(next(net.parameters()).device).float() / 127.5 - 1
    return net(rearrange(x, "f c h w -> 1 c f h w"))[0].cpu()


def generated_features(net: I3D, clips: Sequence[Path], frames: int, cache: Path) -> Tensor:
    """(n, 400) of an evaluation's clips, cached in the folder `cache`."""
    return cached_rows(cache, len(clips), lambda i: logits(net, read_clip(clips[i], frames, 1, SIZE, 0.0)))


def real_features(net: I3D, real: Real, frames: int, cache: Path) -> Tensor:
    """(n, 400) of the real videos that can be read; the others are counted, with their reasons.

    Raises DataError for a folder without videos, or one where more than half cannot be read.
    """
    entries = list_folder(real.root, VIDEO_SUFFIXES)
    chosen = permutation(len(entries), real.seed, "real videos", 0)[: real.most].tolist()
    said = [f"{frames} {real.stride} {real.seed}", *(entries[i].path for i in chosen)]
    key = hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]

    def row(number: int) -> Tensor:
        path = entries[chosen[number]].path
        start = torch.rand((), generator=generator_for(real.seed, "real start", number)).item()
        try:
            return logits(net, read_clip(inside(real.root, path), frames, real.stride, SIZE, start))
        except UnreadableMedia as reason:
            print(f"skipped {path}: {reason}")
            return torch.full((CLASSES,), torch.nan)

    rows = cached_rows(cache / f"real_{key}", len(chosen), row)
    good = rows[rows.isfinite().all(1)]
    if 2 * len(good) < len(rows) or len(good) < 2:
        raise DataError(
            f"got {len(good)} readable videos of {len(rows)} in {real.root}; expected two and at least half "
            f"with {frames} frames at stride {real.stride}. Look at what was skipped, or lower --real-stride."
        )
    print(f"real videos: {len(good)} of {len(rows)} readable")
    return good


def fvd(generated: Tensor, real: Tensor, clips: int = 2048, seed: int = 0) -> dict[str, Any]:
    """FVD between `clips` of each set (or as many as both have), and what it was measured on.

    With more at hand than that: the mean of DRAWS draws, and the draws. With twice as many real ones also the
    distance that real videos have from one another: no model can be expected below it.
    """
    n = min(clips, len(generated), len(real))
    draws = DRAWS if n < max(len(generated), len(real)) else 1

    def some(features: Tensor, kind: str, draw: int) -> Tensor:
        return features[permutation(len(features), seed, kind, draw)]

    got = [
        frechet(some(generated, "generated", draw)[:n], some(real, "real", draw)[:n]) for draw in range(draws)
    ]
    out: dict[str, Any] = {"fvd": round(sum(got) / draws, 2), "fvd_clips": n}
    if draws > 1:
        out["fvd_draws"] = [round(value, 2) for value in got]
    if len(real) >= 2 * n:
        mixed = some(real, "floor", 0)
        out["fvd_real_versus_real"] = round(real_versus_real(mixed[:n], mixed[n : 2 * n]), 2)
    return out
