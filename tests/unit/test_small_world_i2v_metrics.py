"""Clips that begin as a picture: colours in between, the measures, and the model they are sampled from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.small_run import CHECKPOINT, MOTION, write_lora
from training.randomness import sample_generator
from training.small_world.measure.i2v_metrics import I2VMetrics, ReferenceSet, align_colours
from training.small_world.measure.i2v_model import ImageToVideoModel
from training.small_world.paths import JUDGE
from training.small_world.world import datasets, judge
from training.small_world.world.clips import COLOURS, FRAMES, SIZE, all_labels, draw, sample_clips

NET = judge.load(JUDGE)


def test_colours_in_between_are_named_by_the_nearest() -> None:
    labels = torch.tensor(all_labels())
    clips = sample_clips(len(labels), sample_generator(31, 0), labels, between=True)
    palette = torch.tensor(list(COLOURS.values()))[labels[:, 1]]
    assert (clips.rgb - palette).abs().amax(1).max() > 0.1
    read = judge.read_colour_and_motion(draw(clips, [0, 8, 15]))[0]
    assert (read == labels[:, 1]).float().mean() > 0.85  # half-way colours may go either way
    plain = sample_clips(len(labels), sample_generator(31, 0), labels)
    assert torch.equal(plain.centre, clips.centre)


def test_real_clips_keep_everything() -> None:
    reference_set = ReferenceSet.sample(20)
    clips = draw(reference_set.clips)
    found = I2VMetrics.measure(clips, reference_set, NET)
    assert found.colour.max() < 0.01
    assert found.place.max() < 0.01
    assert found.water.max() < 0.01
    assert found.body.mean() == 1
    assert found.motion.mean() == 1
    movers = reference_set.labels[:, 2] != 0
    assert found.along[movers].min() > 0.9
    assert found.speed[~movers].max() < 0.1


def test_other_clips_do_not() -> None:
    reference_set = ReferenceSet.sample(20)
    other = draw(sample_clips(20, sample_generator(32, 0), reference_set.labels))
    found = I2VMetrics.measure(other, reference_set, NET)
    assert found.place.mean() > 5
    assert found.water.mean() > 0.05
    still = I2VMetrics.measure(
        reference_set.pictures[:, None].expand(-1, FRAMES, -1, -1, -1), reference_set, NET
    )
    assert still.speed.max() < 1e-3


def test_alignment_is_given_each_clips_own_picture() -> None:
    reference_set = ReferenceSet.sample(3)
    clips = draw(reference_set.clips)
    seen: list[torch.Tensor] = []

    def change(frames: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        seen.append(reference[0].permute(2, 0, 1))
        return frames * 0.5

    assert torch.allclose(align_colours(clips, reference_set, change), clips * 0.5)
    assert torch.equal(torch.stack(seen), reference_set.pictures)


@pytest.mark.parametrize("reading", ["latents", "pixels", "first_frame"])
def test_the_encoder_acts_in_every_reading(tmp_path: Path, reading: str) -> None:
    lora = write_lora(tmp_path / "lora.safetensors")
    model = ImageToVideoModel.load(CHECKPOINT, lora, MOTION, "image to video")
    assert model.encoder is None
    reference_set = ReferenceSet.sample(2)
    bare = model.sample(reference_set, 1, 0.8)
    silent = model.untrained(reading)  # type: ignore[arg-type]
    assert silent.encoder is not None
    with torch.no_grad():
        silent.encoder.conv_in.weight.normal_(std=0.05)
    clips = silent.sample(reference_set, 1, 0.8)
    assert clips.shape == bare.shape == (2, FRAMES, 3, SIZE, SIZE)
    assert not torch.allclose(clips, bare, atol=1e-3)
    swapped = replace(reference_set, pictures=reference_set.pictures.flip(0))
    assert not torch.allclose(silent.sample(swapped, 1, 0.8), clips, atol=1e-3)


def test_the_videos_of_image_to_video_are_the_same_in_every_run() -> None:
    a, b = (datasets.CleanVideos(2, mixed=True).load(1, sample_generator(0, 0)) for _ in range(2))
    assert a.pixels is not None
    assert b.pixels is not None
    assert a.pixels.shape == (FRAMES, 3, SIZE, SIZE)
    assert torch.equal(a.pixels, b.pixels)
    assert a.caption == b.caption
    other = datasets.CleanVideos(2, mixed=True).load(0, sample_generator(0, 0))
    assert other.pixels is not None
    assert not torch.equal(a.pixels, other.pixels)
