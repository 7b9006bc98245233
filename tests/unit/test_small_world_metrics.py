"""What the judge says of clips: agreement with the caption, and features that see looks and motion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.eval.metrics import frechet
from training.randomness import sample_generator
from training.small_world.measure.metrics import (
    FEATURES,
    NAMES,
    Space,
    caption_agreement,
    colour_probabilities,
    measure_clips,
    real_clips,
    surface,
)
from training.small_world.paths import JUDGE
from training.small_world.world import degraded, judge
from training.small_world.world.clips import (
    BODIES,
    COLOURS,
    MOTIONS,
    caption,
    captions_of,
    draw,
    labels_in_turn,
    sample_clips,
)


@pytest.fixture(scope="module")
def net() -> judge.BodyNet:
    return judge.load(JUDGE)


@pytest.fixture(scope="module")
def shown() -> tuple[Tensor, Tensor]:
    labels = labels_in_turn(30)
    return draw(sample_clips(30, sample_generator(91, 0), labels)), labels


def test_captions_in_turn_cover_the_world() -> None:
    assert len({tuple(row) for row in labels_in_turn(90).tolist()}) == 90
    first = labels_in_turn(30)
    assert all(len(first[:, i].unique()) == n for i, n in enumerate((3, 6, 5)))
    names = list(COLOURS)
    b, c, m = first[1].tolist()
    assert captions_of(first)[1] == caption(BODIES[b], names[c], MOTIONS[m])


def test_real_clips_agree_with_their_captions(shown: tuple[Tensor, Tensor], net: judge.BodyNet) -> None:
    measured = measure_clips(*shown, net)
    assert measured.right.shape == (30, len(NAMES))
    assert measured.right.all()
    assert measured.features.shape == (30, FEATURES)
    assert measured.agreement.min() > 95


def test_agreement_is_lost_with_each_word(shown: tuple[Tensor, Tensor], net: judge.BodyNet) -> None:
    clips, labels = shown
    other_body, other_colour = labels.clone(), labels.clone()
    other_body[:, 0] = (labels[:, 0] + 1) % 3
    other_colour[:, 1] = (labels[:, 1] + 1) % 6
    assert measure_clips(clips, other_body, net).agreement.max() < 5
    assert measure_clips(clips, other_colour, net).agreement.max() < 5
    grey = torch.full_like(clips[:2], 0.5)
    assert measure_clips(grey, labels[:2], net).agreement.tolist() == [0, 0]


def test_agreement_is_the_mean_over_frames() -> None:
    colours, bodies = torch.zeros(1, 4, 6), torch.zeros(1, 4, 3)
    colours[0, :, 2] = torch.tensor([1.0, 1.0, 0.5, 0.0])
    bodies[0, :, 1] = torch.tensor([1.0, 0.5, 1.0, 1.0])
    assert caption_agreement(colours, bodies, torch.tensor([[1, 2, 0]])).item() == 50


def test_colour_is_soft_between_hues() -> None:
    palette = torch.tensor(list(COLOURS.values()))
    angles = judge.hue(palette)
    between = (angles[0] + angles[1]) / 2  # red and orange
    ring = torch.stack([torch.cos(between - k * 2 * torch.pi / 3) for k in (0, 1, 2)]) * 0.3 + 0.5
    patch = torch.full((1, 2, 3, 64, 64), 0.5)
    patch[0, 0, :, 20:40, 20:40] = ring[:, None, None]
    probabilities = colour_probabilities(patch)
    assert torch.allclose(probabilities[0, 0, :2], torch.tensor([0.5, 0.5]), atol=0.02)
    assert probabilities[0, 1].sum() == 0  # no creature, no colour
    patch[0, 0, :, 20:40, 20:40] = palette[3][:, None, None]
    assert colour_probabilities(patch)[0, 0, 3] > 0.99


@pytest.fixture(scope="module")
def space(net: judge.BodyNet) -> Space:
    return Space(real_clips(90, 92, net).features)


def worse(kind: str, clips: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind == "frozen":
        return clips[:, :1].expand_as(clips)
    if kind == "shuffled":
        return clips[:, torch.randperm(clips.shape[1], generator=generator)]
    if kind == "noisy":
        return (clips + 0.15 * torch.randn(clips.shape, generator=generator)).clamp(0, 1)
    if kind == "degraded":
        return degraded.degrade(clips)
    return clips.clone().index_fill_(1, torch.tensor([5]), 0.5)  # an empty frame


@pytest.mark.parametrize("kind", ["frozen", "shuffled", "noisy", "degraded", "gap"])
def test_frechet_sees_looks_and_motion(
    kind: str, shown: tuple[Tensor, Tensor], net: judge.BodyNet, space: Space
) -> None:
    """Each fault alone is further from the real clips than other real clips are."""
    clips, labels = shown
    good, bad = (
        frechet(space.reference, space.place(measure_clips(x, labels, net).features))
        for x in (clips, worse(kind, clips))
    )
    assert bad > 1.15 * good
    assert bad < 100 * good  # no single feature outweighs all others


def test_surface_tells_blur_from_a_watermark(shown: tuple[Tensor, Tensor]) -> None:
    clips = shown[0]
    blurred = torch.nn.functional.avg_pool2d(clips.flatten(0, 1), 3, stride=1, padding=1).view_as(clips)
    blurred[..., [0, -1], :] = blurred[..., 1:2, :]  # zeros come in at the border
    blurred[..., [0, -1]] = blurred[..., 1:2]
    marked = torch.where(degraded.watermark().bool(), 1.0, clips)
    plain, soft, mark = (surface(x)[:, 2:].mean(0) for x in (clips, blurred, marked))
    assert soft[0] < 0.8 * plain[0]
    assert abs(mark[0] - plain[0]) < 0.05 * plain[0]
    assert mark[1] > plain[1] + 0.01


def test_frechet_sees_colour(shown: tuple[Tensor, Tensor], net: judge.BodyNet, space: Space) -> None:
    clips, labels = shown
    rgb = slice(64, 67)
    good, bad = (
        frechet(space.reference[:, rgb], space.place(measure_clips(x, labels, net).features)[:, rgb])
        for x in (clips, clips * 0.6 + 0.4)
    )
    assert bad > 5 * good


def test_a_clip_backwards_is_caught_by_the_reading(shown: tuple[Tensor, Tensor], net: judge.BodyNet) -> None:
    clips, labels = shown
    right = measure_clips(clips.flip(1), labels, net).right[:, NAMES.index("motion")]
    assert torch.equal(right, labels[:, 2] == 0)


def test_features_of_a_still_and_a_moving_clip_differ_in_motion_only(net: judge.BodyNet) -> None:
    labels = torch.tensor([[0, 0, 2]])
    clip = draw(sample_clips(1, sample_generator(93, 0), labels))
    moving, frozen = (measure_clips(x, labels, net).features[0] for x in (clip, clip[:, 8:9].expand_as(clip)))
    velocity = slice(73, 75)
    assert moving[velocity][0] > 0.9
    assert frozen[velocity].abs().max() < 1e-4
    assert frozen[75:].abs().max() < 1e-4  # no bend, no trembling, no flicker, no drift
    assert moving[77:].min() > 1e-3
