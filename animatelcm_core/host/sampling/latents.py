"""LATENTs of clips: makes an empty one, reads the frames of one, puts sampled frames into one."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sample
import torch
from torch import Tensor

from ..tensors import other_latent

_RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")  # the host's marks of an empty latent


def empty_clip(width: int, height: int, frames: int) -> dict[str, Tensor]:
    """A LATENT of zeros, one per frame. Raises ValueError for sides that are not multiples of 8."""
    for name, pixels in (("width", width), ("height", height)):
        if pixels % 8:
            near = pixels // 8 * 8
            raise ValueError(f"got {name} {pixels}; expected a multiple of 8. Use {near} or {near + 8}.")
    shape = (frames, 4, height // 8, width // 8)
    return {"samples": torch.zeros(shape, device=comfy.model_management.intermediate_device())}


def frames_of(model: Any, latent: dict[str, Any]) -> Tensor:
    """Frames (f, 4, h, w) to sample, float32. Raises ValueError for another kind of latent."""
    ratios = {key: latent[key] for key in _RATIOS if key in latent}
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"].float(), **ratios)
    if samples.ndim != 4 or samples.shape[1] != model.get_model_object("latent_format").latent_channels:
        raise other_latent("latent", latent["samples"])
    return samples


def filled(latent: dict[str, Any], samples: Tensor) -> dict[str, Any]:
    """The LATENT with these samples, no longer marked as empty."""
    rest = {key: value for key, value in latent.items() if key not in _RATIOS}
    return {**rest, "samples": samples}
