"""The metrics of controlled video: how well clips follow their hints.

overlap           of the creature with the hinted one, intersection over union, mean over frames
flicker_colour    change of the creature's mean RGB from frame to frame, mean absolute
flicker_outline   change of the creature's outline from frame to frame beyond that of the hinted one: share of
                  its area that comes or goes otherwise
flicker_water     change of the mean RGB of what neither creature covers from frame to frame, mean absolute;
                  the hinted clips have next to none, and an eye sees this flicker first
colour, body      shares that are right
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...config import HintConfig
from ...eval.intervals import bootstrap, centred_interval, wilson
from ...hints import edge_hints
from ...randomness import sample_generator
from ..world import judge
from ..world.clips import draw, labels_in_turn, sample_clips

SEED = 50_000
AMOUNTS = ("overlap", "flicker_colour", "flicker_outline", "flicker_water")
SHARES = ("colour", "body")


@dataclass
class HintSet:
    """n clips and their hints. pixels: (n, f, 3, 64, 64); hints: the same shape; labels: (n, 3)."""

    captions: list[str]
    pixels: Tensor
    hints: Tensor
    labels: Tensor

    @classmethod
    def sample(cls, n: int, hint: HintConfig, seed: int = SEED) -> HintSet:
        """n clips of the 90 captions in turn, drawn with a seed that no training step has."""
        clips = sample_clips(n, sample_generator(seed, 0), labels_in_turn(n))
        pixels = draw(clips)
        hints = edge_hints(hint, pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        return cls(clips.captions(), pixels, hints, clips.labels)

    def first(self, n: int) -> HintSet:
        return HintSet(self.captions[:n], self.pixels[:n], self.hints[:n], self.labels[:n])

    def __len__(self) -> int:
        return len(self.captions)


@dataclass
class ControlMetrics:
    """Metrics of each clip, all (n,): how it follows the hints, and what it gets right of the caption."""

    overlap: Tensor
    flicker_colour: Tensor
    flicker_outline: Tensor
    flicker_water: Tensor
    colour: Tensor
    body: Tensor

    @classmethod
    @torch.inference_mode()
    def measure(cls, clips: Tensor, hint_set: HintSet, net: judge.BodyNet) -> ControlMetrics:
        """clips: (n, f, 3, 64, 64) in 0..1 that should follow the hints of `hint_set`."""
        mask, chroma = judge.colourfulness(clips)
        hinted = judge.colourfulness(hint_set.pixels)[0]
        # Pixels that come or go from one frame to the next and do not in the hinted clip, by its area.
        strays = (mask.diff(dim=1) - hinted.diff(dim=1)).abs().sum((2, 3)) / hinted[:, 1:].sum((2, 3))
        right = judge.read(clips, net).right(hint_set.labels)
        return cls(
            overlap=overlap(mask, hinted),
            flicker_colour=flicker(clips, mask * chroma),
            flicker_outline=strays.mean(1),
            flicker_water=flicker(clips, 1 - torch.maximum(mask, hinted)),
            colour=right["colour"].float(),
            body=right["shape"].float(),
        )

    def row(self, name: str) -> dict[str, Any]:
        """Means with their 95 % intervals."""
        out: dict[str, Any] = {"row": name}
        for key in AMOUNTS:
            values = getattr(self, key)
            out |= {key: round(float(values.mean()), 4), f"{key}_interval95": interval(values)}
        for key in SHARES:
            values = getattr(self, key)
            out |= {key: round(float(values.mean()), 4)}
            out[f"{key}_interval95"] = wilson(int(values.sum()), len(values))
        return out

    def change_from(self, before: ControlMetrics) -> dict[str, Any]:
        """Mean changes of the same clips, with the 95 % intervals of the paired differences."""
        out: dict[str, Any] = {}
        for key in AMOUNTS:
            change = getattr(self, key) - getattr(before, key)
            out |= {key: round(float(change.mean()), 4), f"{key}_interval95": interval(change)}
        return out


def interval(values: Tensor) -> list[float]:
    """95 % interval of the mean, over clips."""
    point = float(values.double().mean())
    draws = bootstrap(lambda i: float(values[i].double().mean()), len(values))
    return [round(end, 4) for end in centred_interval(draws, point)]


def overlap(mask: Tensor, hinted: Tensor) -> Tensor:
    """Intersection over union of soft masks (n, f, 64, 64), mean over frames, (n,)."""
    both, either = mask * hinted, torch.maximum(mask, hinted)
    return (both.sum((2, 3)) / either.sum((2, 3)).clamp_min(1)).mean(1)


def flicker(clips: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute change of the mean RGB from frame to frame, (n,). weight: (n, f, 64, 64)."""
    return judge.mean_rgb(clips, weight).diff(dim=1).abs().mean((1, 2))
