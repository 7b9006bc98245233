"""Turns an IMAGE of any size into the latent of a reference image, as the authors prepare it."""

from __future__ import annotations

from typing import Any

import comfy.utils
from einops import rearrange, repeat
from torch import Tensor

from .tensors import is_finite

MOST_PIXELS = 2**28  # of a resized image; far above any picture, far below what exhausts memory


def reference_latents(vae: Any, images: Tensor, width: int, height: int) -> Tensor:
    """VAE latents (b, 4, height / 8, width / 8) of images (b, h, w, 3) in 0..1, covered and cropped."""
    pictures = cover(images, width, height)
    if getattr(vae, "first_stage_model", vae) is None:
        raise ValueError(
            "got a VAE without weights; expected the VAE of an SD1.5 checkpoint. This checkpoint holds none: "
            "load one with Load VAE."
        )
    latents = vae.encode(pictures)
    if latents.ndim != 4 or latents.shape[1] != 4:
        raise ValueError(
            f"got latents of shape {tuple(latents.shape)} from this VAE; expected 4 channels. "
            "Use the VAE of the SD1.5 checkpoint."
        )
    if not is_finite(latents):
        raise ValueError(
            "got latents with numbers that are not finite from this VAE; expected finite ones: the clip "
            "would be black. Start ComfyUI with --fp32-vae, or use another VAE."
        )
    return latents


def as_rgb(images: Tensor) -> Tensor:
    """(b, h, w, 3) of images with 1, 3 or 4 channels, values 0..1.

    Transparency is laid on black, grey becomes RGB.
    """
    images = images.float()
    if images.shape[-1] == 1:
        images = repeat(images, "b h w 1 -> b h w c", c=3)
    if images.shape[-1] == 4:
        images = images[..., :3] * images[..., 3:]
    return images.clamp(0, 1)


def cover(images: Tensor, width: int, height: int) -> Tensor:
    """images (b, h, w, 3) resized by Lanczos until they cover width x height, the middle cut out."""
    before_h, before_w = images.shape[1:3]
    ratio = max(width / before_w, height / before_h)
    wide, high = max(width, round(before_w * ratio)), max(height, round(before_h * ratio))
    if wide * high > MOST_PIXELS:
        raise ValueError(
            f"got an image of {before_w}x{before_h} to fill {width}x{height}; expected sides less than "
            f"{MOST_PIXELS // (width * height)} times as long as each other. Crop the image first."
        )
    if (wide, high) != (before_w, before_h):
        channels_first = rearrange(images, "b h w c -> b c h w")
        images = rearrange(comfy.utils.lanczos(channels_first, wide, high), "b c h w -> b h w c")
    top, left = (high - height) // 2, (wide - width) // 2
    return images[:, top : top + height, left : left + width].contiguous()
