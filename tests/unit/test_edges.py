"""Edges as hints: they lie on outlines, move with them, and do not depend on how a clip is cut into parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from animatelcm_core import edges as module
from animatelcm_core.edges import MODES, edges


def squares(frames: int, height: int = 48, width: int = 64) -> Tensor:
    """(f, h, w, 3): a light square that moves four pixels a frame."""
    clip = torch.zeros(frames, height, width, 3)
    for i in range(frames):
        clip[i, 12:36, 10 + 4 * i : 34 + 4 * i] = 0.8
    return clip


@pytest.mark.parametrize("mode", MODES)
def test_edges_lie_on_outlines(mode: module.EdgeMode) -> None:
    found = edges(squares(3), mode)
    assert found.shape == (3, 48, 64, 3)
    assert 0 <= found.min() < found.max() <= 1
    assert torch.equal(found[..., 0], found[..., 2])
    for i in range(3):
        columns = found[i, 24, :, 0].nonzero().flatten()
        nearest = torch.stack([(columns - 9.5 - 4 * i).abs(), (columns - 33.5 - 4 * i).abs()]).amin(0)
        assert len(columns)
        assert nearest.max() <= 3
    assert not edges(torch.full((1, 16, 16, 3), 0.4), mode).any()


def test_canny_is_opencvs_within_a_pixel() -> None:
    """Thresholds 0.4 and 0.8 are OpenCV's 100 and 200: the same lines, up to rounding of the thinning."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 1, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (96, 96), mode="nearest")
    ours = edges(smooth.permute(0, 2, 3, 1).expand(-1, -1, -1, 3), "canny")[0, :, :, 0].numpy() > 0
    grey = cv2.GaussianBlur((smooth[0, 0].numpy() * 255).round().astype(np.uint8), (5, 5), 1.0)
    theirs = cv2.Canny(grey, 0.4 * 255, 0.8 * 255, L2gradient=True) > 0
    wide = np.ones((3, 3), np.uint8)
    for one, other in ((ours, theirs), (theirs, ours)):
        near = cv2.dilate(other.astype(np.uint8), wide) > 0
        assert (one & near).sum() > 0.9 * one.sum() > 0


def test_more_blur_and_higher_thresholds_leave_less() -> None:
    clip = 0.5 * squares(1) + 0.5 * torch.rand(1, 48, 64, 1, generator=torch.Generator().manual_seed(1))
    weak, strong = edges(clip, low=0.05, high=0.1), edges(clip, low=0.6, high=1.2)
    assert strong.sum() < weak.sum()
    assert edges(clip, low=0.05, high=0.1, sigma=4.0).sum() < weak.sum()
    soft = edges(clip, "soft", low=0.2, high=0.9)
    assert ((soft > 0) & (soft < 1)).any()


def test_a_long_clip_is_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = squares(6)
    whole = edges(clip)
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 48 * 64 * 2)
    assert torch.equal(edges(clip), whole)
