"""Pictures, masks, latents and conditions as they enter: kind, shape, and numbers that are finite."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from .checks import shown, wrong

MOST_INDEX = 2**16  # of a frame: the host draws the noise of all frames before it
_CONNECT = {
    "image": "Connect an IMAGE.",
    "mask": "Connect a MASK, such as that of Load Image (as Mask).",
    "latent": "Use AnimateLCM Empty Video Latent, or encode images with the checkpoint's VAE.",
    "condition": "Connect CLIP Text Encode with the checkpoint's CLIP.",
}


def is_plain(value: Any) -> bool:
    """Whether `value` is a dense tensor of real numbers, with any in it."""
    return (
        torch.is_tensor(value)
        and not value.is_nested
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized or value.is_meta)
        and value.numel() > 0
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, in float32."""
    return not tensor.is_floating_point() or bool(tensor.float().isfinite().all())


def check_image(item: Any, value: Any) -> None:
    """ValueError unless `value` is an IMAGE: (batch, height, width, 1, 3 or 4 channels), finite."""
    if not torch.is_tensor(value):
        raise wrong(item.id, value, "an IMAGE", _CONNECT["image"])
    if not is_plain(value) or value.ndim != 4 or value.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"got an image of shape {shape_of(value)} for {item.id}; expected real numbers, (batch, height, "
            f"width, 1, 3 or 4 channels). {_CONNECT['image']}"
        )
    if not is_finite(value):
        raise ValueError(
            f"got an image with numbers that are not finite for {item.id} (black or broken pixels); expected "
            "0 to 1. Look at the node that makes this image: a VAE in half precision is the usual cause."
        )


def check_mask(item: Any, value: Any) -> None:
    """ValueError unless `value` is a MASK: (height, width) or (masks, height, width), finite."""
    if not is_plain(value) or value.ndim not in (2, 3):
        expected = "a MASK (masks, height, width) of real numbers"
        raise wrong(item.id, value, expected, _CONNECT["mask"])
    _check_finite(item.id, "a mask", value, "Look at the node that makes this mask.")


def check_latent(item: Any, value: Any) -> None:
    """ValueError unless `value` is a LATENT of single frames, with a mask and frame numbers that fit."""
    if not isinstance(value, dict) or "samples" not in value:
        raise wrong(item.id, value, "a LATENT", _CONNECT["latent"])
    samples: Any = value["samples"]
    mask, index = value.get("noise_mask"), value.get("batch_index")
    if not is_plain(samples) or samples.ndim != 4:
        raise other_latent(item.id, samples)
    do = "Look at the node that makes this latent: a VAE or a model in half precision is the usual cause."
    _check_finite(item.id, "a latent", samples, do)
    if mask is not None:
        if not is_plain(mask) or not mask.is_floating_point() or mask.ndim < 2:
            do = "Set it with Set Latent Noise Mask."
            raise wrong(f"the noise mask of {item.id}", mask, "a MASK (masks, height, width)", do)
        _check_finite(item.id, "a noise mask", mask, "Look at the node that makes this mask.")
    if index is not None:
        _check_index(item.id, index, len(samples))


def _check_index(name: str, index: Any, frames: int) -> None:
    """ValueError unless `index` gives every frame the number that its noise is drawn by."""
    numbers = index.tolist() if hasattr(index, "tolist") else index
    if not (
        isinstance(numbers, list | tuple | range)
        and len(numbers) == frames
        and all(isinstance(i, Integral) and i in range(MOST_INDEX) for i in numbers)
    ):
        raise wrong(
            f"the batch_index of {name}",
            numbers,
            f"{frames} whole numbers from 0 to {MOST_INDEX - 1}, one per frame",
            "Choose frames with Latent From Batch, or make the latent anew.",
        )


def check_conditioning(item: Any, value: Any) -> None:
    """ValueError unless `value` is a CONDITIONING: pairs of text features (batch, words, width), options."""
    pairs = isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_condition, value))
    if not pairs:
        raise wrong(item.id, value, "a CONDITIONING (text features, options)", _CONNECT["condition"])
    for features, *_ in value:
        do = "Look at the text encoder: its file may be damaged, or half precision too little for it."
        _check_finite(item.id, "a condition", features, do)


def _is_condition(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) < 2:
        return False
    return is_plain(pair[0]) and pair[0].ndim == 3 and isinstance(pair[1], dict)


def check_text_fits(model: Any, name: str, conditions: Iterable[Any]) -> None:
    """ValueError if the text features are as wide as another kind of model's."""
    width = model.model.model_config.unet_config.get("context_dim")
    for features, *_ in conditions:
        if width is not None and features.shape[-1] != width:
            raise ValueError(
                f"got text features {features.shape[-1]} wide for {name}; expected {width} for this MODEL: "
                "they are of another kind of model. Connect CLIP Text Encode with the checkpoint's CLIP."
            )


def other_latent(name: str, samples: Any) -> ValueError:
    """The error for a latent that is none of SD1.5's."""
    return ValueError(
        f"got a latent of another kind of model for {name} ({shown(samples)}); expected frames of SD1.5 "
        f"(frames, 4, height / 8, width / 8). {_CONNECT['latent']}"
    )


def shape_of(value: Tensor) -> str:
    """The shape of a tensor in words."""
    return "(nested)" if value.is_nested else str(tuple(value.shape))


def _check_finite(name: str, what: str, tensor: Tensor, do: str) -> None:
    if not is_finite(tensor):
        raise ValueError(
            f"got {what} with numbers that are not finite for {name}; expected finite ones: the clip "
            f"would be black. {do}"
        )
