"""Finds the edges of frames, as hints for a ControlNet or T2I-Adapter; for nodes and for training.

`canny` has lines of one pixel (Canny 1986: blur, gradient, thinning, two thresholds), `soft` the strength of
the gradient itself. Gradients are Sobel's, unnormalised, of grey values 0..1: 0.4 is OpenCV's threshold 100.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor

EdgeMode = Literal["canny", "soft"]
MODES: tuple[EdgeMode, ...] = ("canny", "soft")
SMALLEST = torch.finfo(torch.float32).tiny  # threshold of canny; 0 is no positive number
PIXELS_AT_ONCE = 2**22  # frames are worked on in parts of this size, so that memory does not grow with a clip


def edges(
    images: Tensor, mode: EdgeMode = "canny", low: float = 0.4, high: float = 0.8, sigma: float = 1.0
) -> Tensor:
    """images (f, h, w, 3), values 0..1 -> edges (f, h, w, 3), grey, 0..1.

    low < high: gradients between which an edge counts if it touches a strong one (canny), or over which it
    fades in (soft). sigma: of the blur that comes first, in pixels, above 0.
    """
    f, h, w, _ = images.shape
    at_once = max(1, PIXELS_AT_ONCE // (h * w))
    found = [_edges(part, mode, low, high, sigma) for part in images.split(at_once)]
    return repeat(torch.cat(found), "f 1 h w -> f h w c", c=3)


def _edges(images: Tensor, mode: EdgeMode, low: float, high: float, sigma: float) -> Tensor:
    from kornia.color import rgb_to_grayscale
    from kornia.filters import canny, gaussian_blur2d, spatial_gradient

    grey = rgb_to_grayscale(rearrange(images.float(), "f h w c -> f c h w"))
    # A blur mirrors the picture at its border, once: it reaches less far than a short side.
    rows, columns = (min(2 * ceil(2 * sigma) + 1, 2 * side - 1) for side in grey.shape[-2:])
    blur: tuple[tuple[int, int], tuple[float, float]] = ((rows, columns), (sigma, sigma))
    if mode == "canny":
        return canny(grey, max(low, SMALLEST), high, *blur)[1]
    gradient = spatial_gradient(gaussian_blur2d(grey, *blur), normalized=False)  # (f, 1, 2, h, w)
    return ((gradient.norm(dim=2) - low) / (high - low)).clamp(0, 1)
