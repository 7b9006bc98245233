"""The judge, which reads a clip: which colour, which body, which motion.

Colour and motion are read from the pixels by rule: the creature is what is colourful, its colour the nearest
hue of the palette, its motion a straight line through its centre over the frames. A small convolutional
network recognises the body; it has seen clean, blurred and noisy pictures; sets of clips are compared
in the space of its 64 features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .clips import BODIES, COLOURS

COLOURFUL = 0.30  # max - min of RGB; backgrounds stay under 0.2
SMALLEST = 60.0  # pixels; less is no creature
MOVES = 0.45  # pixels a frame; clips move 1.0 to 1.6 or not at all


@dataclass
class Reading:
    """Indices per clip, -1: nothing was found. centre: (n, f, 2) pixels; rgb: (n, 3) mean of the body.

    features: (n, 64), the network's mean over the frames. Of each frame: frames (n, f, 64) its features,
    bodies (n, f, 3) what it thinks the body is.
    """

    body: Tensor
    colour: Tensor
    motion: Tensor
    centre: Tensor
    velocity: Tensor
    rgb: Tensor
    features: Tensor
    frames: Tensor
    bodies: Tensor

    def right(self, labels: Tensor) -> dict[str, Tensor]:
        """labels: (n, 3) body, colour, motion -> which of them were read as such, and all three."""
        found = {
            "colour": self.colour == labels[:, 1],
            "shape": self.body == labels[:, 0],
            "motion": self.motion == labels[:, 2],
        }
        return {**found, "all": found["colour"] & found["shape"] & found["motion"]}


class BodyNet(nn.Module):
    """(b, 3, 64, 64) in 0..1 -> logits of the three bodies; `features` gives (b, 64)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 32, 48, 64)
        self.body = nn.Sequential(
            *(
                layer
                for a, b in zip(widths, widths[1:], strict=False)
                for layer in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.SiLU())
            )
        )
        self.head = nn.Linear(64, len(BODIES))

    def features(self, x: Tensor) -> Tensor:
        return self.body(x * 2 - 1).amax(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def colourfulness(clips: Tensor) -> tuple[Tensor, Tensor]:
    """(n, f, 3, h, w) -> mask and chroma, (n, f, h, w)."""
    chroma = clips.amax(2) - clips.amin(2)
    return (chroma > COLOURFUL).float(), chroma


def hue(rgb: Tensor) -> Tensor:
    """(..., 3) -> angle of the colour in its circle, radians."""
    r, g, b = rgb.unbind(-1)
    return torch.atan2(3**0.5 * (g - b), 2 * r - g - b)


def mean_rgb(clips: Tensor, weight: Tensor) -> Tensor:
    """Mean colour of each frame, (n, f, 3). clips: (n, f, 3, h, w); weight: (n, f, h, w), not negative."""
    return (clips * weight[:, :, None]).sum((3, 4)) / weight.sum((2, 3))[..., None].clamp_min(1e-6)


def read_colour_and_motion(clips: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(n, f, 3, h, w) in 0..1 -> colour, motion, centre, velocity, rgb as in Reading."""
    n, f, _, h, w = clips.shape

    # The creature is what is colourful: its centre in each frame, its mean colour over all of them.
    mask, chroma = colourfulness(clips)
    area = mask.sum((2, 3))
    weight = mask * chroma
    total = weight.sum((2, 3)).clamp_min(1e-6)
    x = (weight.sum(2) * (torch.arange(w) + 0.5)).sum(-1) / total
    y = (weight.sum(3) * (torch.arange(h) + 0.5)).sum(-1) / total
    centre = torch.stack([x, y], dim=-1)
    rgb = (clips * weight[:, :, None]).sum((1, 3, 4)) / weight.sum((1, 2, 3))[:, None].clamp_min(1e-6)

    # Colour: the nearest hue of the palette. Angles are subtracted on the circle, where they wrap round.
    palette = hue(torch.tensor(list(COLOURS.values())))
    apart = torch.angle(torch.exp(1j * (hue(rgb)[:, None] - palette))).abs()
    colour = apart.argmin(1)

    # Velocity: the slope of the straight line that fits the centres best, time counted from the middle.
    time = torch.arange(f, dtype=torch.float32) - (f - 1) / 2
    velocity = (centre * time[None, :, None]).sum(1) / time.square().sum()

    # Motion: the larger axis and its sign, numbered as MOTIONS (left, right, up, down); still if it is slow.
    vx, vy = velocity.unbind(-1)
    horizontal = torch.where(vx < 0, 1, 2)
    vertical = torch.where(vy < 0, 3, 4)
    motion = torch.where(vx.abs() > vy.abs(), horizontal, vertical)
    motion = torch.where(velocity.abs().amax(1) < MOVES, 0, motion)

    # A clip that has no creature in some frame is read as nothing.
    there = area.amin(1) >= SMALLEST
    return torch.where(there, colour, -1), torch.where(there, motion, -1), centre, velocity, rgb


@torch.inference_mode()
def read(clips: Tensor, net: BodyNet) -> Reading:
    """clips: (n, f, 3, 64, 64) in 0..1. The body is the network's mean opinion over the frames."""
    n, f = clips.shape[:2]
    colour, motion, centre, velocity, rgb = read_colour_and_motion(clips)
    features = torch.cat([net.features(part) for part in clips.flatten(0, 1).split(512)])
    bodies = net.head(features).softmax(-1).view(n, f, -1)
    frames = features.view(n, f, -1)
    body = torch.where(colour < 0, -1, bodies.mean(1).argmax(-1))
    return Reading(body, colour, motion, centre, velocity, rgb, frames.mean(1), frames, bodies)


def load(path: Path) -> BodyNet:
    """The trained network from a safetensors file."""
    net = BodyNet()
    net.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return net.eval().requires_grad_(False)
