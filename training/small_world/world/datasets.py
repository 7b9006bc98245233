"""Data sets of the small world for the trainer: clean pictures, degraded and clean videos.

Nothing is stored but what `encode` makes of them; sample i is the same in every run.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...base import load_base
from ...config import BaseConfig
from ...data import Dataset, Sample
from ...encode import Encoding, encode
from ...randomness import sample_generator
from . import degraded
from .clips import FRAMES, draw, sample_clips, without_colour

IMAGES, VIDEOS = 6000, 2000
UNNAMED = 0.5
SEEDS = {"images": 101, "videos": 102, "mixed": 103, "clips": 104}


class Pictures(Dataset):
    """Single frames of clean clips with full captions: what images are in the paper."""

    def __init__(self, samples: int = IMAGES):
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def load(self, index: int, generator: torch.Generator) -> Sample:
        own = sample_generator(SEEDS["images"], index)
        clip = sample_clips(1, own)
        frame = int(torch.randint(FRAMES, (), generator=own))
        return Sample(index, clip.captions()[0], pixels=as_bytes(draw(clip, [frame])[0]))


class DegradedVideos(Dataset):
    """Clips with watermark, blur and half of the captions brief: what videos are in the paper."""

    def __init__(self, samples: int = VIDEOS):
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def load(self, index: int, generator: torch.Generator) -> Sample:
        clips = degraded.sample(1, sample_generator(SEEDS["videos"], index))
        return Sample(index, clips.captions[0], pixels=as_bytes(clips.pixels[0]))


class CleanVideos(Dataset):
    """Clean clips, which adapters are adapted on (`clips`).

    For image to video (`mixed`) in colours between the palette's, and half of the captions leave the colour
    out: if a word always named it, the model would not look for it in the image.
    """

    def __init__(self, samples: int = VIDEOS, mixed: bool = False):
        self.samples, self.mixed = samples, mixed

    def __len__(self) -> int:
        return self.samples

    def load(self, index: int, generator: torch.Generator) -> Sample:
        seed = SEEDS["mixed" if self.mixed else "clips"]
        own = sample_generator(seed, index)
        clip = sample_clips(1, own, between=self.mixed)
        text = clip.captions()[0]
        if self.mixed and torch.rand((), generator=own) < UNNAMED:
            text = without_colour(text)
        return Sample(index, text, pixels=as_bytes(draw(clip)[0]))


def as_bytes(pixels: Tensor) -> Tensor:
    """0..1 -> uint8."""
    return (pixels * 255).round().to(torch.uint8)


def make_clean(checkpoint: Path, out: Path, videos: int = VIDEOS) -> None:
    """Encode the clips of stage three into `out/mixed` and `out/clips`. Resumes."""
    base = load_base(BaseConfig(variant="shapes", checkpoint=checkpoint))
    for name in ("mixed", "clips"):
        encode(CleanVideos(videos, name == "mixed"), base, out / name, Encoding(batch=4, shard_size=256))


def make_caches(checkpoint: Path, out: Path, images: int = IMAGES, videos: int = VIDEOS) -> None:
    """Encode pictures and degraded videos into `out/images` and `out/videos`. Resumes."""
    base = load_base(BaseConfig(variant="shapes", checkpoint=checkpoint))
    encode(Pictures(images), base, out / "images", Encoding(batch=64, shard_size=2048))
    encode(DegradedVideos(videos), base, out / "videos", Encoding(batch=4, shard_size=256))
