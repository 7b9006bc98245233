"""Colour alignment: the authors' bytes, and the same idea without 8-bit steps."""

from __future__ import annotations

import colorsys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from animatelcm_core.color_align import Weights, align, means, official, smoothed

ALL = Weights(1, 1, 1)
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.mark.parametrize("name", ["photo_like", "noise", "reds_near_wrap", "grey_and_black"])
def test_official_gives_the_authors_bytes(name: str) -> None:
    golden = load_file(GOLDEN / "color_align.safetensors")
    keys = sorted(key for key in golden if key.startswith(f"{name}.frame_rgb"))
    frames = torch.stack([golden[key] for key in keys])
    got = official(frames, golden[f"{name}.reference_rgb_u8"][None].float() / 255)
    expected = torch.stack([golden[key.replace("frame_rgb", "aligned_rgb_u8")] for key in keys])
    assert torch.equal((got * 255).round().to(torch.uint8), expected)
    assert not torch.equal((frames * 255).to(torch.uint8), expected)


def test_pixels_move_as_in_the_textbook() -> None:
    """Against colorsys, one pixel at a time, for every order of the channels and shifts over the ends."""
    torch.manual_seed(0)
    frames, reference = torch.rand(3, 6, 7, 3), torch.rand(1, 9, 5, 3)
    weights = Weights(0.5, 0.9, -0.8)
    got = align(frames, reference, weights)
    (*rgb, saturation, value), own = means(reference)[0].tolist(), means(frames).tolist()
    wanted = colorsys.rgb_to_hsv(*rgb)[0]
    for i, frame in enumerate(frames):
        turn = (wanted - colorsys.rgb_to_hsv(*own[i][:3])[0] + 0.5) % 1 - 0.5
        for pixel, result in zip(frame.reshape(-1, 3).tolist(), got[i].reshape(-1, 3).tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            h = (h + 0.5 * turn) % 1
            s = min(1, max(0, s + 0.9 * (saturation - own[i][3])))
            v = min(1, max(0, v - 0.8 * (value - own[i][4])))
            assert result == pytest.approx(colorsys.hsv_to_rgb(h, s, v), abs=1e-4)


def test_it_brings_a_pale_clip_back() -> None:
    """Darker and with less colour, as few steps leave it."""
    torch.manual_seed(1)
    reference = torch.rand(1, 32, 32, 3) * 0.5 + 0.2
    frames = (0.8 * (0.7 * reference + 0.3 * reference.mean(-1, keepdim=True))).expand(4, -1, -1, -1)
    before = (frames - reference).abs().mean()
    assert (align(frames, reference) - reference).abs().mean() < 0.4 * before


def test_equal_colours_stay() -> None:
    torch.manual_seed(2)
    reference = torch.rand(1, 16, 16, 3)
    frames = reference.flip(1).expand(3, -1, -1, -1)  # the same colours at other places
    assert torch.allclose(align(frames, reference, ALL), frames, atol=1e-5)


def test_reds_beside_the_wrap_do_not_turn_blue() -> None:
    """Hues 350 and 10 degrees are near each other; as plain numbers nearly all colours lie between them."""
    frame = torch.tensor([0.9, 0.3, 0.4]).expand(1, 8, 8, 3)
    reference = torch.tensor([0.9, 0.4, 0.3]).expand(1, 8, 8, 3)
    got = align(frame, reference, ALL)
    assert torch.allclose(got, reference.expand_as(got), atol=1e-4)


def test_greys_stay_grey() -> None:
    grey = torch.linspace(0, 1, 64).reshape(1, 8, 8, 1).expand(-1, -1, -1, 3)
    reference = torch.tensor([0.9, 0.2, 0.1]).expand(1, 4, 4, 3)
    got = align(grey, reference, ALL)
    assert got.isfinite().all()
    assert (got.amax(-1) - got.amin(-1)).max() < 1e-5


def test_strength_and_mask() -> None:
    torch.manual_seed(3)
    frames, reference = torch.rand(2, 10, 12, 3), torch.rand(1, 7, 7, 3) * 0.3
    assert torch.equal(align(frames, reference, ALL, strength=0), frames)
    whole, half = align(frames, reference, ALL), align(frames, reference, ALL, strength=0.5)
    assert torch.allclose(half, (frames + whole) / 2, atol=1e-5)
    mask = torch.zeros(1, 10, 12)
    mask[:, :5] = 1
    got = align(frames, reference, ALL, mask=mask)
    assert torch.equal(got[:, 5:], frames[:, 5:])
    assert not torch.allclose(got[:, :5], frames[:, :5], atol=0.05)
    assert torch.equal(align(frames, reference, ALL, mask=torch.zeros(1, 10, 12)), frames)


def test_smoothing_takes_out_the_flicker_of_shifts() -> None:
    shifts = torch.tensor([[1.0], [0.0]]).repeat(8, 1)
    calm = smoothed(shifts, 2.0)
    assert calm.diff(dim=0).abs().max() < 0.2
    assert calm.mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(smoothed(shifts, 0), shifts)
    torch.manual_seed(4)
    frames = torch.rand(1, 8, 8, 3).expand(6, -1, -1, -1)
    one = align(frames, torch.rand(1, 8, 8, 3), ALL, smoothing=3.0)
    assert torch.allclose(one, one[:1].expand_as(one), atol=1e-6)


def test_a_reference_for_every_frame() -> None:
    torch.manual_seed(6)
    frames, references = (
        torch.rand(2, 8, 8, 3),
        torch.rand(2, 5, 5, 3) * torch.tensor([0.3, 1]).reshape(2, 1, 1, 1),
    )
    each = torch.cat([align(frames[i : i + 1], references[i : i + 1]) for i in range(2)])
    assert torch.allclose(align(frames, references), each, atol=1e-6)


def test_frames_beyond_one_part_are_treated_alike() -> None:
    torch.manual_seed(5)
    frame, reference = torch.rand(1, 20, 20, 3), torch.rand(1, 4, 4, 3)
    tiled = frame.repeat(1, 12, 12, 1)  # 57600 pixels, more than are computed at once
    assert torch.allclose(align(tiled, reference)[:, :20, :20], align(frame, reference), atol=1e-5)
