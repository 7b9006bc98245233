"""Ways to condition on a reference image (paper 4.3): the released one and the two it is compared with.

latents       light blocks on the image's latent, held over all frames: what is released
pixels        the same blocks on its pixels, eight by eight folded into channels, as a T2I-Adapter reads them
first_frame   the same blocks on a clip whose first frame is the image's latent and whose others are empty,
              with a channel that says which is which (masked modelling)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from animatelcm_core.image_encoder import ImageEncoder, zero_conv_in

Reading = Literal["latents", "pixels", "first_frame"]
CHANNELS: dict[Reading, int] = {"latents": 4, "pixels": 3 * 64, "first_frame": 5}


def build_encoder(channels: tuple[int, ...], reading: Reading, seed: int) -> ImageEncoder:
    """A new encoder whose first layer is zero; only `latents` fits the released layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ImageEncoder(channels)
        if reading != "latents":
            encoder.conv_in = nn.Conv2d(CHANNELS[reading], channels[0], 3, padding=1)
    return zero_conv_in(encoder)


def conditioning(reading: Reading, latents: Tensor, pixels: Tensor | None, frames: int) -> Tensor:
    """Input of the encoder for clips of `frames`: ((b f), c, h, w).

    latents: (b, 4, h, w) of the reference images; pixels: (b, 3, 8 h, 8 w) in -1..1, for `pixels`.
    """
    if reading == "pixels":
        assert pixels is not None
        return repeat(F.pixel_unshuffle(pixels, 8), "b c h w -> (b f) c h w", f=frames)
    if reading == "latents":
        return repeat(latents, "b c h w -> (b f) c h w", f=frames)
    clip = latents.new_zeros(len(latents), frames, 5, *latents.shape[2:])
    clip[:, 0, :4], clip[:, 0, 4] = latents, 1.0
    return rearrange(clip, "b f c h w -> (b f) c h w")
