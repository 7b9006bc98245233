"""What the judge says of a set of clips: readings, caption agreement, and features to compare sets in.

A cell of a table keeps only this, not its clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..eval.metrics import standardised
from . import judge, world
from .loop import step_generator

NAMES = ("colour", "shape", "motion", "all")
HUE_WIDTH = 0.12  # radians, 7 degrees; the nearest two hues of the palette are 24 degrees apart
FEATURES = 64 + 3 + 8
Draw = Callable[[world.Clips], Tensor]


@dataclass
class Measured:
    """right: (n, 4) bool in the order of NAMES; agreement: (n,) 0 to 100; features: (n, FEATURES) float32."""

    right: Tensor
    agreement: Tensor
    features: Tensor

    @classmethod
    def joined(cls, parts: list[Measured]) -> Measured:
        return cls(
            torch.cat([part.right for part in parts]),
            torch.cat([part.agreement for part in parts]),
            torch.cat([part.features for part in parts]),
        )


@torch.inference_mode()
def measure(clips: Tensor, labels: Tensor, net: judge.BodyNet) -> Measured:
    """clips: (n, f, 3, 64, 64) in 0..1; labels: (n, 3) body, colour, motion that were asked for."""
    reading = judge.read(clips, net)
    right = reading.right(labels)
    return Measured(
        torch.stack([right[name] for name in NAMES], dim=1),
        caption_agreement(colour_probabilities(clips), reading.bodies, labels),
        clip_features(reading),
    )


def colour_probabilities(clips: Tensor) -> Tensor:
    """(n, f, 6): how much each frame's creature is of each colour of the palette.

    p_k ~ exp(-(hue - hue_k)^2 / (2 HUE_WIDTH^2)), hue of the creature's mean RGB, summing to 1: halfway
    between two colours is one half each. All zero for a frame that shows no creature.
    """
    mask, chroma = judge.colourfulness(clips)
    weight = mask * chroma
    rgb = (clips * weight[:, :, None]).sum((3, 4)) / weight.sum((2, 3))[..., None].clamp_min(1e-6)
    palette = judge.hue(torch.tensor(list(world.COLOURS.values())))
    apart = torch.angle(torch.exp(1j * (judge.hue(rgb)[..., None] - palette)))
    there = mask.sum((2, 3)) >= judge.SMALLEST
    return (-0.5 * (apart / HUE_WIDTH).square()).softmax(-1) * there[..., None]


def caption_agreement(colours: Tensor, bodies: Tensor, labels: Tensor) -> Tensor:
    """(n,): 100 times the mean over frames of p(asked colour) p(asked body), the small world's CLIPSIM.

    colours: (n, f, 6), bodies: (n, f, 3), labels: (n, 3). Like CLIPSIM it looks at single frames and knows
    nothing of motion. 100: every frame shows what was asked for; 0: none shows anything of it.
    """
    clip = torch.arange(len(labels))
    return 100 * (colours[clip, :, labels[:, 1]] * bodies[clip, :, labels[:, 0]]).mean(1)


def clip_features(reading: judge.Reading) -> Tensor:
    """(n, FEATURES): what Frechet distances are measured on, before `standardised` by real clips.

    64  mean over frames of the judge's features: form and texture; no linear reading of them tells colour
    3   mean RGB of the creature
    2   mean of its centre; 2 its velocity, pixels a frame: pooled features see no motion, these do
    1   distance of the centre from a straight even path, root mean square in pixels
    1   second difference of the centre, mean length in pixels: trembling
    1   change of the features from frame to frame, root mean square: flicker
    1   change from the first to the last quarter of the frames: drift
    """
    centre, frames, n = reading.centre, reading.frames, len(reading.centre)
    f = centre.shape[1]
    time = torch.arange(f, dtype=torch.float32) - (f - 1) / 2
    middle = centre.mean(1)
    path = middle[:, None] + time[None, :, None] * reading.velocity[:, None]
    bend = (centre - path).square().sum(-1).mean(1).sqrt()
    tremble = centre.diff(n=2, dim=1).norm(dim=-1).mean(1)
    flicker = frames.diff(dim=1).square().mean((1, 2)).sqrt()
    quarter = max(1, f // 4)
    drift = (frames[:, -quarter:].mean(1) - frames[:, :quarter].mean(1)).square().mean(1).sqrt()
    single = torch.stack([bend, tremble, flicker, drift], dim=1)
    out = torch.cat([reading.features, reading.rgb, middle, reading.velocity, single], dim=1)
    assert out.shape == (n, FEATURES)
    return out


def asked_labels(n: int) -> Tensor:
    """(n, 3): the 90 captions in turn, so mixed that a part of them is no worse a sample."""
    combinations = world.all_captions()
    return torch.tensor([combinations[i * 37 % len(combinations)] for i in range(n)])


def captions_of(labels: Tensor) -> list[str]:
    """Full captions of labels (n, 3)."""
    names = list(world.COLOURS)
    return [world.caption(world.BODIES[b], names[c], world.MOTIONS[m]) for b, c, m in labels.tolist()]


def real_clips(n: int, seed: int, net: judge.BodyNet, draw: Draw = world.draw, batch: int = 30) -> Measured:
    """n real clips of the captions in turn, drawn by `draw` and measured."""
    labels, parts = asked_labels(n), []
    for start in range(0, n, batch):
        part = labels[start : start + batch]
        clips = world.sample_clips(len(part), step_generator(seed, start), part)
        parts.append(measure(draw(clips), part, net))
    return Measured.joined(parts)


@dataclass(frozen=True)
class Space:
    """The space of Frechet distances: features in units of real clips' deviations."""

    real: Tensor

    def place(self, features: Tensor) -> Tensor:
        """(n, FEATURES) -> float64, comparable with `reference`."""
        return standardised(features, self.real)

    @property
    def reference(self) -> Tensor:
        return standardised(self.real, self.real)
