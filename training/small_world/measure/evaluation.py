"""The small world's metrics for `eval`: the judge's readings, and the distance from real clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...config import ConfigError
from ...data.media import read_clip
from ..paths import JUDGE
from ..world import judge
from ..world.clips import SIZE, all_labels, captions_of, labels_in_turn
from .cells import load_or_make
from .metrics import Measurements, Space, measure_clips, real_clips
from .results import frechet_of, numbers

REAL, REAL_SEED = 900, 51  # of the reference, as in table 1: ten clips a caption
BATCH = 32


def all_captions() -> list[str]:
    """The 90 captions, mixed so that any part of them is a fair sample."""
    return captions_of(labels_in_turn(len(all_labels())))


def labels_of(captions: Sequence[str]) -> Tensor:
    """(n, 3) body, colour, motion of full captions. Raises ConfigError for another caption."""
    known = dict(zip(captions_of(torch.tensor(all_labels())), all_labels(), strict=True))
    strange = [text for text in captions if text not in known]
    if strange:
        raise ConfigError(
            f"got the caption {strange[0]!r}; expected one of the small world's, such as "
            f"{next(iter(known))!r}: the judge must know what was asked for. Leave --prompts out for all 90."
        )
    return torch.tensor([known[text] for text in captions])


def measure_videos(
    clips: Sequence[Path], captions: Sequence[str], frames: int, space: Space
) -> dict[str, Any]:
    """Shares of colour, shape, motion and all three right, caption agreement, Frechet distance; intervals."""
    net, labels, parts = judge.load(JUDGE), labels_of(captions), []
    for start in range(0, len(clips), BATCH):
        pixels = [read_clip(path, frames, 1, (SIZE, SIZE), 0.0) for path in clips[start : start + BATCH]]
        parts.append(measure_clips(torch.stack(pixels).float() / 255, labels[start : start + BATCH], net))
    measured = Measurements.join(parts)
    return numbers(measured, *frechet_of(measured, space))


def about(clips: int) -> dict[str, Any]:
    """How results were measured, for results.json. clips: number of real clips."""
    return {"judge": {"real_clips": clips}}


def reference(cache: Path, clips: int = REAL) -> Space:
    """The space of Frechet distances: real clips, measured once and saved in the folder `cache`."""
    path = cache / f"real_{clips}.safetensors"
    return Space(load_or_make(path, lambda: real_clips(clips, REAL_SEED, judge.load(JUDGE))).features)
