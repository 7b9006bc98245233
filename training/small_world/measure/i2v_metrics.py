"""Clips that begin as a given picture: the pictures, how they are sampled, what of them is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from animatelcm_core.formats import build_image_encoder, build_motion_model
from animatelcm_core.image_encoder import ImageEncoder
from animatelcm_core.motion_module import MotionModel
from animatelcm_core.schedule import SCHEDULES, Schedule

from ...base import Base, load_motion_file
from ...config import BaseConfig
from ...image_conditioning import Reading, build_encoder, conditioning
from ...pipeline import Conditions, Pipeline, Sampling, load_merged
from ...randomness import sample_generator
from ...roles import Parts, Reference
from ..teacher import networks
from ..world import judge
from ..world.clips import FRAMES, SIZE, Clips, draw, labels_in_turn, sample_clips, without_colour

SEED = 40_000
BATCH = 20


@dataclass
class Beginnings:
    """n pictures that no training step saw: sizes, places, waters and colours in between are new.

    pictures: (n, 3, 64, 64) in 0..1, first frames of `clips`; labels: (n, 3) body, nearest colour, motion.
    named: whether captions name the colour, or leave it to the picture alone.
    """

    clips: Clips
    pictures: Tensor
    labels: Tensor
    named: bool = False

    def captions(self) -> list[str]:
        texts = self.clips.captions()
        return texts if self.named else [without_colour(text) for text in texts]

    def __len__(self) -> int:
        return len(self.labels)


def beginnings(n: int, seed: int = SEED) -> Beginnings:
    """The 90 captions in turn."""
    labels = labels_in_turn(n)
    clips = sample_clips(n, sample_generator(seed, 0), labels, between=True)
    return Beginnings(clips, draw(clips, [0])[:, 0], labels)


@dataclass
class ImageModel:
    """A distilled model with an image encoder, or without one (text to video)."""

    base: Base
    motion: MotionModel
    schedule: Schedule
    encoder: ImageEncoder | None = None
    reading: Reading = "latents"

    @torch.inference_mode()
    def sample(self, given: Beginnings, steps: int, motion_scale: float, seed: int = SEED) -> Tensor:
        """Clips (n, f, 3, 64, 64) in 0..1. Equal seeds give equal noise, whatever the model."""
        parts, sampling = [], Sampling("lcm", steps)
        pipeline = Pipeline.of(self.base, self.schedule, Parts(motion=self.motion, encoder=self.encoder))
        for start in range(0, len(given), BATCH):
            pictures = given.pictures[start : start + BATCH] * 2 - 1
            captions = given.captions()[start : start + BATCH]
            shape = (len(captions), FRAMES, 4, SIZE // 8, SIZE // 8)
            noise = torch.randn(shape, generator=sample_generator(seed, start))
            conditions = Conditions(captions, self.reference(pictures, motion_scale))
            parts.append(pipeline.sample(conditions, noise, sampling, sample_generator(seed + 1, start)))
        return torch.cat(parts)

    def reference(self, pictures: Tensor, motion_scale: float) -> Reference | None:
        """For clips that begin as pictures (n, 3, 64, 64) in -1..1; nothing where no encoder reads them."""
        if self.encoder is None:
            return None
        latents = self.base.encode_pixels(pictures)
        return Reference(conditioning(self.reading, latents, pictures, FRAMES), motion_scale)


def load(
    checkpoint: Path, lora: Path, motion: Path, schedule: str = "", vae: Path | None = None
) -> ImageModel:
    """The model of exported files. schedule: other than the one that the motion file names."""
    config = BaseConfig(variant="shapes", checkpoint=checkpoint, vae=vae, motion=motion, lora=lora)
    file = load_motion_file(motion, "shapes")
    return ImageModel(
        load_merged(config),
        build_motion_model(file, nn, torch.float32),
        SCHEDULES[schedule or file.schedule],
        build_image_encoder(file, nn, torch.float32),
    )


def untrained(model: ImageModel, reading: Reading = "latents") -> ImageModel:
    """The same model with an encoder that has learned nothing."""
    encoder = build_encoder(networks.MOTION.channels, reading, seed=0)
    return replace(model, encoder=encoder.eval(), reading=reading)


@dataclass
class Kept:
    """Per clip: what is kept of the picture and what moves. All (n,) float32, but `right` (n,) of 0 and 1.

    colour: mean absolute difference of the body's mean RGB, over the frames. place: pixels between the
    creature's centre in the first frame and in the picture. water: mean absolute difference off the creature.
    picture: mean absolute difference of the whole frames' mean RGB, which colour alignment is about.
    body, motion: whether read as asked. along: pixels a frame along the heading, speed: whatever way.
    mover: 1 for clips that should move.
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

    def numbers(self) -> dict[str, float]:
        """Means over the clips; `along` over those that should move."""
        means = {name: values.mean() for name, values in vars(self).items() if name != "mover"}
        means["along"] = self.along[self.mover > 0].mean()
        return {name: round(float(value), 4) for name, value in means.items()}


@torch.inference_mode()
def kept(clips: Tensor, given: Beginnings, net: judge.BodyNet) -> Kept:
    """clips: (n, f, 3, 64, 64) in 0..1 that should begin as `given`; without a creature they are wrong."""
    reading = judge.read(clips, net)
    _, _, centre, _, rgb = judge.read_colour_and_motion(given.pictures[:, None])
    there = judge.colourfulness(torch.cat([clips, given.pictures[:, None]], dim=1))[0]
    off = nn.functional.max_pool2d(there, 7, stride=1, padding=3).eq(0).float()
    off = off[:, :-1] * off[:, -1:]
    error = (clips - given.pictures[:, None]).abs().mean(2)
    right = reading.right(given.labels)
    return Kept(
        colour=(reading.rgb - rgb).abs().mean(1),
        place=(reading.centre[:, 0] - centre[:, 0]).norm(dim=-1),
        water=(error * off).sum((1, 2, 3)) / off.sum((1, 2, 3)).clamp_min(1),
        picture=(clips.mean((3, 4)) - given.pictures.mean((2, 3))[:, None]).abs().mean((1, 2)),
        body=right["shape"].float(),
        motion=right["motion"].float(),
        along=(reading.velocity * given.clips.heading).sum(1),
        speed=reading.velocity.norm(dim=-1),
        mover=(given.labels[:, 2] != 0).float(),
    )


Change = Callable[[Tensor, Tensor], Tensor]


def aligned(clips: Tensor, given: Beginnings, change: Change) -> Tensor:
    """`change(frames (f, h, w, 3), reference (1, h, w, 3))` on every clip."""
    out = []
    for clip, picture in zip(clips, given.pictures, strict=True):
        frames, reference = clip.permute(0, 2, 3, 1), picture[None].permute(0, 2, 3, 1)
        out.append(change(frames, reference).permute(0, 3, 1, 2))
    return torch.stack(out)
