"""Degraded videos and the other style: different to look at, the same to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.small_run import DEMO
from training.export import save_lora
from training.randomness import sample_generator
from training.small_world.experiments import style
from training.small_world.measure.metrics import NAMES, measure_clips
from training.small_world.paths import JUDGE
from training.small_world.teacher.export import rewrite
from training.small_world.world import degraded, ink_style, judge
from training.small_world.world.clips import BODIES, FRAMES, SIZE, Clips, draw, labels_in_turn, sample_clips
from training.small_world.world.words import WORDS

KINDS: dict[str, Callable[[Clips], Tensor]] = {
    "degraded": lambda clips: degraded.degrade(draw(clips)),
    "ink": ink_style.draw,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_judge_still_reads_them(kind: str) -> None:
    labels = labels_in_turn(45)
    clips = KINDS[kind](sample_clips(45, sample_generator(94, 0), labels))
    assert clips.shape == (45, FRAMES, 3, SIZE, SIZE)
    assert 0 <= clips.min() < clips.max() <= 1
    net = judge.load(JUDGE)
    right = measure_clips(clips, labels, net).right.float().mean(0)
    assert all(share >= 0.95 for share in right.tolist()), dict(zip(NAMES, right.tolist(), strict=True))


def test_degraded_videos_are_deterministic() -> None:
    a, b, other = (degraded.sample(4, sample_generator(95, step)) for step in (0, 0, 1))
    assert torch.equal(a.pixels, b.pixels)
    assert a.captions == b.captions
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.pixels, other.pixels)


def test_half_of_the_captions_are_brief() -> None:
    full = sample_clips(600, sample_generator(96, 0)).captions()
    texts = degraded.captions(full, sample_generator(96, 1))
    short = [text for text in texts if len(text.split()) == 2]
    assert 0.42 < len(short) / 600 < 0.58
    assert set(short) == {f"a {body}" for body in BODIES}
    assert all(text in (whole, degraded.brief(whole)) for text, whole in zip(texts, full, strict=True))
    assert all(word in WORDS for text in texts for word in text.split())


def test_degrading_blurs_and_marks_the_same_corner() -> None:
    clips = draw(sample_clips(3, sample_generator(97, 0)), [0, 9])
    out = degraded.degrade(clips)
    rows, columns = degraded.corner()
    mark = degraded.watermark().bool()
    assert mark[rows, columns].sum() == mark.sum() > 30
    assert (out[..., mark] >= degraded.OPACITY).all()
    rest = ~torch.nn.functional.max_pool2d(mark.float()[None], 5, 1, 2)[0].bool()

    def sharpness(x: Tensor) -> float:
        inside = rest[1:] & rest[:-1]
        return float(x.diff(dim=-2)[..., inside].square().mean())

    assert sharpness(out) < 0.6 * sharpness(clips)
    assert (out - clips)[..., rest].mean().abs() < 1e-2  # as bright as it was


def test_style_keeps_place_and_colour_and_changes_the_rest() -> None:
    clips = sample_clips(30, sample_generator(98, 0), labels_in_turn(30))
    plain, styled = draw(clips, [0, 8]), ink_style.draw(clips, [0, 8])
    apart = judge.read_colour_and_motion(plain)[2] - judge.read_colour_and_motion(styled)[2]
    assert apart.norm(dim=-1).max() < 1.5  # pixels
    assert torch.equal(styled, ink_style.draw(clips)[:, [0, 8]])
    black = (styled.amax(2) < 0.1).float().mean((1, 2, 3))
    assert black.min() > 0.02  # the outline
    assert (styled - plain).abs().mean() > 0.1


def test_fine_tune_writes_a_checkpoint_of_the_same_layout(tmp_path: Path) -> None:
    base = DEMO / "shapes_sd.safetensors"
    path = style.train_personal(base, tmp_path, replace(style.RECIPE, steps=2, batch=4), frames=8)
    before, after = load_file(base), load_file(path)
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"model"}  # the UNet alone: text model and VAE are the base's


def test_what_a_fine_tune_changed_is_kept_by_a_small_lora(tmp_path: Path) -> None:
    """Two changed layers, one of low rank and one that needs more than the LoRA has."""
    base = DEMO / "shapes_sd.safetensors"
    name = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    other = "model.diffusion_model.middle_block.1.proj_in.weight"
    tensors = load_file(base)
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(64, 4, generator=generator) @ torch.randn(4, 64 * 9, generator=generator)
    full = torch.randn(tensors[other].shape, generator=generator)
    changes = {name: tensors[name].float() + 0.02 * low.reshape(tensors[name].shape)}
    changes[other] = tensors[other].float() + 0.02 * full
    personal = rewrite(base, changes, tmp_path / "personal.safetensors")
    lora = save_lora(tmp_path / "lora.safetensors", style.change_as_lora(base, personal, 16), {})
    again = load_file(style.merge_style(base, lora, tmp_path / "again.safetensors"))
    wanted = load_file(personal)

    def left(key: str) -> float:
        before, after, got = (x[key].float() for x in (tensors, wanted, again))
        return float((got - after).norm() / (after - before).norm())

    assert left(name) < 0.05
    assert 0.3 < left(other) < 0.95
    untouched = [key for key in tensors if key not in changes]
    assert all(torch.allclose(again[key], tensors[key], atol=1e-3) for key in untouched)
