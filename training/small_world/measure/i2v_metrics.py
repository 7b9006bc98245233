"""The metrics of image to video: how well clips keep the picture they begin as, and how they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...randomness import sample_generator
from ..world import judge
from ..world.clips import Clips, draw, labels_in_turn, sample_clips, without_colour

SEED = 40_000


@dataclass
class ReferenceSet:
    """n pictures that no training step saw: sizes, places, waters and colours in between are new.

    pictures: (n, 3, 64, 64) in 0..1, first frames of `clips`; labels: (n, 3) body, nearest colour, motion.
    named: whether captions name the colour, or leave it to the picture alone.
    """

    clips: Clips
    pictures: Tensor
    labels: Tensor
    named: bool = False

    @classmethod
    def sample(cls, n: int, seed: int = SEED) -> ReferenceSet:
        """n pictures of the 90 captions in turn."""
        clips = sample_clips(n, sample_generator(seed, 0), labels_in_turn(n), between=True)
        return cls(clips, draw(clips, [0])[:, 0], clips.labels)

    def captions(self) -> list[str]:
        texts = self.clips.captions()
        return texts if self.named else [without_colour(text) for text in texts]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class I2VMetrics:
    """Metrics of each clip: how it keeps the picture and how it moves. All (n,) float32.

    colour: mean absolute difference of the body's mean RGB, over the frames. place: pixels between the
    creature's centre in the first frame and in the picture. water: mean absolute difference off the creature.
    picture: mean absolute difference of the whole frames' mean RGB, which colour alignment is about.
    body, motion: 1 where the judge reads what the caption says, else 0. along: pixels a frame along the
    heading; speed: in any direction. mover: 1 for clips that should move.
    """

    colour: Tensor
    place: Tensor
    water: Tensor
    picture: Tensor
    body: Tensor
    motion: Tensor
    along: Tensor
    speed: Tensor
    mover: Tensor

    @classmethod
    @torch.inference_mode()
    def measure(cls, clips: Tensor, reference_set: ReferenceSet, net: judge.BodyNet) -> I2VMetrics:
        """clips: (n, f, 3, 64, 64) in 0..1 that should begin as `reference_set`; wrong without a creature."""
        reading = judge.read(clips, net)
        right = reading.right(reference_set.labels)
        pictures = reference_set.pictures[:, None]
        _, _, centre, _, rgb = judge.read_colour_and_motion(pictures)

        # Water: off the creature of the frame and of the picture, three pixels beyond their outlines.
        there = judge.colourfulness(torch.cat([clips, pictures], dim=1))[0]
        off = F.max_pool2d(there, 7, stride=1, padding=3).eq(0).float()
        off = off[:, :-1] * off[:, -1:]
        error = (clips - pictures).abs().mean(2)

        return cls(
            colour=(reading.rgb - rgb).abs().mean(1),
            place=(reading.centre[:, 0] - centre[:, 0]).norm(dim=-1),
            water=(error * off).sum((1, 2, 3)) / off.sum((1, 2, 3)).clamp_min(1),
            picture=(clips.mean((3, 4)) - reference_set.pictures.mean((2, 3))[:, None]).abs().mean((1, 2)),
            body=right["shape"].float(),
            motion=right["motion"].float(),
            along=(reading.velocity * reference_set.clips.heading).sum(1),
            speed=reading.velocity.norm(dim=-1),
            mover=(reference_set.labels[:, 2] != 0).float(),
        )

    def numbers(self) -> dict[str, float]:
        """Means over the clips; `along` over those that should move."""
        means = {name: values.mean() for name, values in vars(self).items() if name != "mover"}
        means["along"] = self.along[self.mover > 0].mean()
        return {name: round(float(value), 4) for name, value in means.items()}


Change = Callable[[Tensor, Tensor], Tensor]


def align_colours(clips: Tensor, reference_set: ReferenceSet, change: Change) -> Tensor:
    """`change(frames (f, h, w, 3), reference (1, h, w, 3))` on every clip."""
    out = []
    for clip, picture in zip(clips, reference_set.pictures, strict=True):
        frames, reference = clip.permute(0, 2, 3, 1), picture[None].permute(0, 2, 3, 1)
        out.append(change(frames, reference).permute(0, 3, 1, 2))
    return torch.stack(out)
