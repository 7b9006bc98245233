"""HSV colour alignment of decoded frames to a reference image (the authors' last step of image to video).

Every frame is shifted so that its mean hue, saturation and value move to the reference's: hue by a weight of
0.03, the others by 1. `official` is the authors' 8-bit OpenCV procedure, truncations included: frames to
uint8, hue in 0..179 as a plain number, sums cut to 0..180 and 0..255, back through uint8. `align` has no
8-bit steps, treats hue as the circle it is, and can be limited to a mask and smoothed over the frames.

Shape letters: n frames, h w pixels. All pictures are RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

GREY = 0.02  # chroma under which hue is noise: the shift of saturation fades out there
PIXELS_AT_ONCE = 2**17  # small enough for a CPU's cache, large enough for all of its cores


@dataclass(frozen=True)
class Weights:
    """Share of each mean's difference that is corrected: 0 leaves the mean, 1 moves it to the reference's."""

    hue: float = 0.03
    saturation: float = 1.0
    value: float = 1.0


def official(frames: Tensor, reference: Tensor, weights: Weights = Weights()) -> Tensor:
    """The authors' procedure on frames (n, h, w, 3); reference (n or 1, H, W, 3) of any size.

    Returns multiples of 1/255, the authors' bytes for the default weights. Needs OpenCV: ImportError.
    """
    import cv2  # here: the rest of the pack works without it
    import numpy as np

    def as_hsv(picture: Tensor) -> np.ndarray:
        """HSV of the picture in uint8: cut, not rounded."""
        return cv2.cvtColor((picture.float().cpu().numpy() * 255).astype(np.uint8), cv2.COLOR_RGB2HSV)

    references = [as_hsv(picture).reshape(-1, 3).mean(0) for picture in reference]
    references *= len(frames) // len(references)
    limits = ((weights.hue, 180), (weights.saturation, 255), (weights.value, 255))
    aligned = []
    for frame, wanted in zip(frames, references, strict=True):
        hsv = as_hsv(frame)
        for channel, (weight, most) in enumerate(limits):
            shift = weight * (wanted[channel] - hsv[..., channel].mean())
            hsv[..., channel] = np.clip(hsv[..., channel] + shift, 0, most)
        aligned.append(torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)))
    return torch.stack(aligned).to(frames) / 255


def align(
    frames: Tensor,
    reference: Tensor,
    weights: Weights = Weights(),
    strength: float = 1.0,
    mask: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """frames (n, h, w, 3) with the mean colour of reference (n or 1, H, W, 3), in float32.

    strength: 0 returns the frames, 1 the aligned ones. mask: (n or 1, h, w) in 0..1, where frames are
    measured and changed; each reference is measured under its first frame, resized. smoothing: frames over
    which the shifts are averaged (deviation of a Gaussian), 0 for none: it takes out the flicker that frames
    of different content would bring.
    """
    frames, reference = frames.float(), reference.float()
    if mask is not None:
        mask = mask.to(frames).expand(len(frames), -1, -1)
        fitted = F.interpolate(mask[:1, None], reference.shape[1:3], mode="bilinear", align_corners=False)
        wanted = means(reference, fitted[:, 0])
    else:
        wanted = means(reference)
    shifts = smoothed(_difference(wanted, means(frames, mask)), smoothing)
    out = torch.empty_like(frames)
    for i, frame in enumerate(frames):
        share = None if mask is None else rearrange(mask[i], "h w -> (h w)")
        pixels, result = (rearrange(picture, "h w c -> (h w) c") for picture in (frame, out[i]))
        hue, saturation, value = (shifts[i] * torch.tensor(astuple(weights))).tolist()
        for start in range(0, len(pixels), PIXELS_AT_ONCE):
            part = slice(start, start + PIXELS_AT_ONCE)
            amount = strength if share is None else strength * share[part, None]
            moved = _moved(pixels[part], hue, saturation, value)
            result[part] = torch.lerp(pixels[part], moved, amount)
    return out


def means(frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """(n, h, w, 3) -> (n, 5): means of red, green, blue, saturation and value.

    mask: (n, h, w), how much each pixel counts; where it is empty the means are those of black.
    """
    red, green, blue = frames.unbind(-1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    saturation = 1 - low.div_(high.clamp_min(1e-6))
    if mask is None:
        return torch.cat(
            [frames.mean((1, 2)), torch.stack([saturation.mean((1, 2)), high.mean((1, 2))], 1)], 1
        )
    whole = mask.sum((1, 2)).clamp_min(1e-6)
    return torch.stack([(x * mask).sum((1, 2)) / whole for x in (red, green, blue, saturation, high)], dim=1)


def _difference(wanted: Tensor, got: Tensor) -> Tensor:
    """`means` (n or 1, 5) and (n, 5) -> (n, 3): turn of the hue in sextants, -3 .. 3, saturation, value.

    A picture's hue is that of its mean colour: a mean over the circle in which a pixel counts as much as it
    has colour. There is nothing to turn where one of the two is grey.
    """
    wanted, got = wanted.cpu(), got.cpu()
    (own_hue, own_chroma), (hue, chroma) = (_sextant(*x[:, :3].unbind(1)) for x in (wanted, got))
    turn = torch.where((own_chroma > 1e-4) & (chroma > 1e-4), (own_hue - hue + 3) % 6 - 3, 0.0)
    return torch.cat([turn[:, None], wanted[:, 3:] - got[:, 3:]], dim=1)


def smoothed(shifts: Tensor, deviation: float) -> Tensor:
    """(n, k) averaged over n by a Gaussian of this deviation; 0 leaves it."""
    if deviation <= 0:
        return shifts
    at = torch.arange(len(shifts), dtype=torch.float32)
    kernel = torch.exp(-((at[:, None] - at) ** 2) / (2 * deviation**2))
    return kernel / kernel.sum(1, keepdim=True) @ shifts


def _sextant(red: Tensor, green: Tensor, blue: Tensor) -> tuple[Tensor, Tensor]:
    """Hue in sextants, -1 .. 5 with red at 0, green at 2 and blue at 4, and chroma.

    Branches are products: a selection costs twenty times as much as a sum on a CPU.
    """
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - torch.minimum(torch.minimum(red, green), blue)
    per = chroma.clamp_min(1e-6).reciprocal_()
    # 1 where the channel is the highest, else 0: sign(0) + 1 or sign(negative) + 1.
    is_red, is_green = ((channel - high).sign_().add_(1) for channel in (red, green))
    # Start from the sector around blue, 4; replace it around green, 2, then around red, 0.
    hue = torch.lerp((red - green).mul_(per).add_(4), (blue - red).mul_(per).add_(2), is_green)
    return torch.lerp(hue, (green - blue).mul_(per), is_red), chroma


def _moved(pixels: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """Pixels (p, 3) with their hue turned by `hue` sextants, and saturation and value (0..1) raised."""
    # RGB to HSV: the highest channel is the value, chroma / value the saturation.
    channels = [channel.contiguous() for channel in pixels.unbind(-1)]
    high = torch.maximum(torch.maximum(channels[0], channels[1]), channels[2])
    sextant, chroma = _sextant(*channels)
    # Turn the hue around the circle: sextant mod 6.
    sextant.add_(hue)
    sextant.sub_(sextant.div(6).floor_(), alpha=6)
    # Raise the saturation, less where the pixel is nearly grey, and the value.
    full = torch.add(chroma / high.clamp_min(1e-6), chroma.div_(GREY).clamp_(max=1), alpha=saturation)
    bright = (high + value).clamp_(0, 1)
    depth = full.clamp_(0, 1).mul_(bright)  # the new chroma: how far the lowest channel is below the value
    # HSV to RGB: the share of that depth by which red (at 0), green (at 2) and blue (at 4) are below the
    # value. It is 0 up to one sextant from the channel's own hue, and 1 from two sextants on.
    below = (
        (sextant - 3).abs_().neg_().add_(2),
        (sextant - 2).abs_().sub_(1),
        (sextant - 4).abs_().sub_(1),
    )
    out = torch.empty_like(pixels)
    for channel, share in enumerate(below):
        out[:, channel] = torch.addcmul(bright, depth, share.clamp_(0, 1), value=-1)
    return out
