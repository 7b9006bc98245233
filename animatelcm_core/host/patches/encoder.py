"""Finds the image encoder for a MODEL, and checks that it fits."""

from __future__ import annotations

from typing import Any

from ...attach import feature_sites
from ...image_encoder import ImageEncoder
from ..checks import width_of
from ..load.motion import Motion
from .motion import motion_of


def encoder_of(model: Any, motion: Motion | None) -> Motion:
    """The motion model whose image encoder is used: `motion`, or else the one on MODEL.

    Raises ValueError if there is none, or it has no image encoder.
    """
    found = motion or motion_of(model)
    wanted = "Load AnimateLCM_sd15_i2v.ckpt as the motion model, or connect it to encoder."
    if found is None:
        raise ValueError(f"got a MODEL without a motion model; expected one with an image encoder. {wanted}")
    if found.encoder is None:
        raise ValueError(
            f"got the motion model {found.name} without an image encoder; expected an image-to-video one. "
            f"{wanted}"
        )
    return found


def check_encoder_fits(unet: Any, encoder: ImageEncoder, name: str) -> None:
    """ValueError unless the encoder has a feature of the right width for every level of `unet`."""
    widths = [width_of(unet.get_submodule(site)) for site in feature_sites(unet)]
    if list(encoder.channels) != widths:
        raise ValueError(
            f"got {name}, whose image encoder has channels {list(encoder.channels)}; expected {widths} for "
            "this MODEL. Use an image encoder and a checkpoint that were made for each other (SD1.5 with "
            "SD1.5)."
        )
