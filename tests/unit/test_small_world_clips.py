"""The small world: its clips say what their captions say, and the judge can tell."""

from __future__ import annotations

import torch

from training.randomness import sample_generator
from training.sd15 import BOS, EOS, TOKENS
from training.small_world.variant import VARIANT
from training.small_world.world import judge
from training.small_world.world.clips import (
    BODIES,
    COLOURS,
    FRAMES,
    MOTIONS,
    SIZE,
    all_labels,
    caption,
    draw,
    sample_clips,
)
from training.small_world.world.words import WORDS, tokenize
from training.variants import find_variant, known_variants


def test_same_seed_same_clips() -> None:
    a, b = (draw(sample_clips(3, sample_generator(5, 1))) for _ in range(2))
    other = draw(sample_clips(3, sample_generator(5, 2)))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert a.shape == (3, FRAMES, 3, SIZE, SIZE)
    assert 0 <= a.min() < a.max() <= 1


def test_rules_read_every_combination() -> None:
    labels = torch.tensor(all_labels())
    clips = draw(sample_clips(len(labels), sample_generator(6, 0), labels))
    colour, motion, centre, *_ = judge.read_colour_and_motion(clips)
    assert torch.equal(colour, labels[:, 1])
    assert torch.equal(motion, labels[:, 2])
    assert centre.min() > 8
    assert centre.max() < SIZE - 8  # nobody leaves the picture


def test_rules_refuse_an_empty_scene() -> None:
    grey = torch.full((1, FRAMES, 3, SIZE, SIZE), 0.5)
    colour, motion, *_ = judge.read_colour_and_motion(grey)
    assert colour.item() == motion.item() == -1


def test_direction_is_visible_in_a_single_frame() -> None:
    """The eye is the brightest neutral spot and sits ahead of the body's centre."""
    labels = torch.tensor([[b, 0, m] for b in range(3) for m in range(1, 5)])
    clips = sample_clips(len(labels), sample_generator(7, 0), labels)
    clips.background[:] = 0.2
    frame = draw(clips, [0])
    white = (frame[:, 0].amin(1) > 0.8).float()
    grid = torch.arange(SIZE) + 0.5
    area = white.sum((1, 2))
    assert area.min() > 8
    eye = torch.stack([(white.sum(1) * grid).sum(-1), (white.sum(2) * grid).sum(-1)], dim=-1) / area[:, None]
    ahead = ((eye - clips.centre[:, 0]) * clips.heading).sum(-1)
    assert ahead.min() > 1.5


def test_captions_and_tokens() -> None:
    clips = sample_clips(50, sample_generator(8, 0))
    tokens = tokenize([*clips.captions(), ""])
    assert tokens.shape == (51, TOKENS)
    assert (tokens[:, 0] == BOS).all()
    assert (tokens[:, -1] == EOS).all()
    assert tokens[-1].tolist() == [BOS] + [EOS] * (TOKENS - 1)
    assert caption("fish", "red", "left") == "a red fish swimming left"
    used = {
        word for b, c, m in all_labels() for word in caption(BODIES[b], list(COLOURS)[c], MOTIONS[m]).split()
    }
    assert used <= set(WORDS)


def test_the_small_world_is_a_variant_of_the_trainer() -> None:
    variant = find_variant("shapes")
    assert variant is VARIANT
    assert next(iter(known_variants())) == "sd15"
    assert len(variant.motion.modules()) == 11
    assert variant.size == (SIZE, SIZE)
    assert variant.tokenizer(None)(["a red fish"]).shape == (1, TOKENS)
    assert variant.metrics is not None
    assert len(variant.metrics().all_captions()) == 90
