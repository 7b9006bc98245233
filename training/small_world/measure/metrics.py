"""Measures a set of clips: what is right, caption agreement, and features for comparing sets.

A cell of a table keeps only this, not its clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...eval.metrics import standardised
from ...randomness import sample_generator
from ..world import judge
from ..world.clips import COLOURS, Clips, draw, labels_in_turn, sample_clips

NAMES = ("colour", "shape", "motion", "all")
HUE_WIDTH = 0.12  # radians, 7 degrees; the nearest two hues of the palette are 24 degrees apart
FEATURES = 64 + 3 + 4 + 8
# What counts as one deviation at least: real water is so even, and real creatures swim so straight, that a
# fault nobody sees would outweigh all others. Gradients in brightness a pixel, then pixels, then features.
LEAST = torch.tensor([0.0] * 69 + [0.03, 0.01] + [0.0] * 4 + [1.0, 1.0, 0.5, 0.5])
Draw = Callable[[Clips], Tensor]


@dataclass
class Measurements:
    """right: (n, 4) bool in the order of NAMES; agreement: (n,) 0 to 100; features: (n, FEATURES) float32."""

    right: Tensor
    agreement: Tensor
    features: Tensor

    @classmethod
    def join(cls, parts: list[Measurements]) -> Measurements:
        return cls(
            torch.cat([part.right for part in parts]),
            torch.cat([part.agreement for part in parts]),
            torch.cat([part.features for part in parts]),
        )


@torch.inference_mode()
def measure_clips(clips: Tensor, labels: Tensor, net: judge.BodyNet) -> Measurements:
    """clips: (n, f, 3, 64, 64) in 0..1; labels: (n, 3) body, colour, motion that were asked for."""
    reading = judge.read(clips, net)
    right = reading.right(labels)
    return Measurements(
        torch.stack([right[name] for name in NAMES], dim=1),
        caption_agreement(colour_probabilities(clips), reading.bodies, labels),
        clip_features(clips, reading),
    )


def colour_probabilities(clips: Tensor) -> Tensor:
    """(n, f, 6): how much each frame's creature is of each colour of the palette.

    p_k ~ exp(-(hue - hue_k)^2 / (2 HUE_WIDTH^2)), hue of the creature's mean RGB, summing to 1: halfway
    between two colours is one half each. All zero for a frame that shows no creature.
    """
    # The hue of the creature in each frame, and its angle to every hue of the palette.
    mask, chroma = judge.colourfulness(clips)
    rgb = judge.mean_rgb(clips, mask * chroma)
    palette = judge.hue(torch.tensor(list(COLOURS.values())))
    apart = torch.angle(torch.exp(1j * (judge.hue(rgb)[..., None] - palette)))
    # A normal density around each hue, summing to 1; none where there is no creature.
    there = mask.sum((2, 3)) >= judge.SMALLEST
    return (-0.5 * (apart / HUE_WIDTH).square()).softmax(-1) * there[..., None]


def caption_agreement(colours: Tensor, bodies: Tensor, labels: Tensor) -> Tensor:
    """(n,): 100 times the mean over frames of p(asked colour) p(asked body), the small world's CLIPSIM.

    colours: (n, f, 6), bodies: (n, f, 3), labels: (n, 3). Like CLIPSIM it looks at single frames and knows
    nothing of motion. 100: every frame shows what was asked for; 0: none shows anything of it.
    """
    clip = torch.arange(len(labels))
    return 100 * (colours[clip, :, labels[:, 1]] * bodies[clip, :, labels[:, 0]]).mean(1)


def clip_features(clips: Tensor, reading: judge.Reading) -> Tensor:
    """(n, FEATURES): the features that Frechet distances compare, in units of real clips' deviations (Space).

    64  mean over frames of the judge's features: form; they tell no colour, and little of blur and noise
    3   mean RGB of the creature
    4   of the whole picture: `surface`
    2   mean of the creature's centre; 2 its velocity, pixels a frame: pooled features see no motion
    1   distance of the centre from a straight even path, root mean square in pixels
    1   second difference of the centre, mean length in pixels: trembling
    1   change of the features from frame to frame, root mean square: flicker
    1   change from the first to the last quarter of the frames: drift
    Gradients and the last four count in units of at least LEAST.
    """
    centre, frames = reading.centre, reading.frames
    f = centre.shape[1]

    # How it moves: off the straight even path through the middle, and trembling about it.
    time = torch.arange(f, dtype=torch.float32) - (f - 1) / 2
    middle = centre.mean(1)
    path = middle[:, None] + time[None, :, None] * reading.velocity[:, None]
    bend = (centre - path).square().sum(-1).mean(1).sqrt()
    tremble = centre.diff(n=2, dim=1).norm(dim=-1).mean(1)

    # How its look changes: from frame to frame, and from the first quarter of the clip to the last.
    flicker = frames.diff(dim=1).square().mean((1, 2)).sqrt()
    quarter = max(1, f // 4)
    drift = (frames[:, -quarter:].mean(1) - frames[:, :quarter].mean(1)).square().mean(1).sqrt()

    # All of it, in the order of the list above.
    single = torch.stack([bend, tremble, flicker, drift], dim=1)
    looks = [reading.features, reading.rgb, surface(clips)]
    out = torch.cat([*looks, middle, reading.velocity, single], dim=1)
    assert out.shape[1] == FEATURES
    return out


def surface(clips: Tensor) -> Tensor:
    """(n, 4): mean brightness, its deviation in the picture, mean gradient on the creature and off it.

    Blur lowers the third, a watermark and rubbish in the water raise the fourth, noise raises both, too much
    guidance raises the second.
    """
    # Length of the gradient of the brightness, between neighbouring pixels.
    grey = clips.mean(2)
    across, down = grey.diff(dim=3)[:, :, :-1], grey.diff(dim=2)[:, :, :, :-1]
    slope = (across.square() + down.square()).sqrt()
    # On the creature, three pixels beyond its outline included, and off it.
    mask = F.max_pool2d(judge.colourfulness(clips)[0], 7, stride=1, padding=3)[:, :, :-1, :-1]
    on, off = ((slope * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp_min(1) for part in (mask, 1 - mask))
    return torch.stack([grey.mean((1, 2, 3)), grey.std((2, 3)).mean(1), on, off], dim=1)


def real_clips(n: int, seed: int, net: judge.BodyNet, drawing: Draw = draw, batch: int = 30) -> Measurements:
    """Measurements of n real clips, of the captions in turn, drawn by `drawing`."""
    labels, parts = labels_in_turn(n), []
    for start in range(0, n, batch):
        part = labels[start : start + batch]
        clips = sample_clips(len(part), sample_generator(seed, start), part)
        parts.append(measure_clips(drawing(clips), part, net))
    return Measurements.join(parts)


@dataclass(frozen=True)
class Space:
    """The space of Frechet distances: features in units of real clips' deviations."""

    real: Tensor

    def place(self, features: Tensor) -> Tensor:
        """(n, FEATURES) -> float64, comparable with `reference`."""
        return standardised(features, self.real, LEAST)

    @property
    def reference(self) -> Tensor:
        return standardised(self.real, self.real, LEAST)
