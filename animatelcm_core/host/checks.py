"""Validation of a MODEL, of a clip's length and of the values that nodes get.

Errors (ValueError) are for what cannot work; warnings are lists of sentences for what works badly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import comfy.model_base
import comfy.model_sampling
import torch
from torch import nn

from ..attach import AttachError, check_fit

Choice = TypeVar("Choice", bound=str)

MOST_LETTERS = 200  # of anything that a message repeats
MOST_CHOICES = 20
MIN_FRAMES = 8  # released modules were trained on 16; under 8 the clip falls apart (peers report noise)
USE_SD15 = "Load a checkpoint that is based on Stable Diffusion 1.5."


def base_name(model: Any) -> str:
    """What the host recognised a MODEL as: SD15, SD20, SDXL, Flux, ..."""
    return type(model.model.model_config).__name__


def check_base(model: Any) -> None:
    """ValueError unless the MODEL is of the Stable Diffusion 1.5 family (any size of it)."""
    unet = model.get_model_object("diffusion_model")
    config = model.model.model_config.unet_config
    one_five = (
        hasattr(unet, "input_blocks")
        and not config.get("use_linear_in_transformer", False)
        and config.get("adm_in_channels") is None
        and not config.get("use_temporal_attention", False)
    )
    if not one_five:
        raise ValueError(f"got a {base_name(model)} model; expected Stable Diffusion 1.5 (SD15). {USE_SD15}")


def check_predicts_noise(model: Any) -> None:
    """ValueError unless the MODEL predicts noise, as SD1.5 does: others break on this pack's schedules."""
    sampling = model.get_model_object("model_sampling")
    wrong = (comfy.model_sampling.V_PREDICTION, comfy.model_sampling.X0)
    eps = isinstance(sampling, comfy.model_sampling.EPS) and not isinstance(sampling, wrong)
    if not eps or model.model.model_type != comfy.model_base.ModelType.EPS:
        raise ValueError(
            f"got a {base_name(model)} model that does not predict noise; expected noise (eps) prediction. "
            "Use a usual SD1.5 checkpoint, and set the schedule by this pack's node only."
        )


def width_of(layer: nn.Module) -> int | None:
    """Channels that leave a residual block or an attention layer of the host's UNet."""
    return getattr(layer, "out_channels", None) or getattr(layer, "in_channels", None)


def check_motion_fits(unet: nn.Module, modules: Mapping[str, int], name: str) -> None:
    """ValueError unless every temporal module (name -> channels) has its layer, of its width, in `unet`."""
    try:
        sites = check_fit(unet, modules)
    except AttachError as error:
        raise ValueError(f"{name}: {error}") from error
    for module, channels in modules.items():
        width = width_of(unet.get_submodule(sites[module]))
        if width is not None and width != channels:
            raise ValueError(
                f"got the motion model {name} with {channels} channels at {module}; expected {width} for "
                "this MODEL. Use a motion model and a checkpoint that were made for each other (SD1.5 with "
                "SD1.5)."
            )


def check_frames(frames: int, most: int) -> None:
    """ValueError if a clip, or one window of it, is longer than the motion model has positions for."""
    if frames > most:
        raise ValueError(
            f"got {frames} frames; expected at most {most} for this motion model. Use fewer frames, or put "
            "AnimateLCM Long Video on the MODEL, with context_length 16."
        )


def frame_warnings(frames: int) -> list[str]:
    """Warnings about the length of a clip."""
    if frames >= MIN_FRAMES:
        return []
    return [
        f"got {frames} frames; expected {MIN_FRAMES} or more (16 is what the motion models learned). Set the "
        "number of frames, or batch size, of the empty latent to 16; a short clip moves little or falls "
        "apart."
    ]


def check_choice(what: str, value: str, known: Iterable[Choice]) -> Choice:
    """`value` if it is one of `known`, else ValueError: ComfyUI 0.3.75 lets any text through."""
    known = list(known)
    for choice in known:
        if isinstance(value, str) and choice == value:
            return choice
    if not known:
        raise ValueError(
            f"got the {what} {shown(value)}; expected a file, and there is none in its folder. Put one "
            "there, then reload the page."
        )
    names = ", ".join(known) if len(known) <= MOST_CHOICES else f"its {len(known)} choices"
    raise ValueError(f"got the {what} {shown(value)}; expected one of {names}. Choose one of them.")


def shown(value: Any) -> str:
    """What a message says of a value that came in: short, on one line, whatever it is."""
    if torch.is_tensor(value):
        return "a nested tensor" if value.is_nested else f"a tensor of shape {tuple(value.shape)}"
    if value is None or isinstance(value, str | bool | int | float):
        if isinstance(value, int) and abs(value) >= 10**MOST_LETTERS:
            return f"a number of over {MOST_LETTERS} digits"
        text = ascii(value[: MOST_LETTERS + 1] if isinstance(value, str) else value)
        return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an object of the kind {type(value).__name__[:MOST_LETTERS]}"


def wrong(name: str, value: Any, expected: str, do: str) -> ValueError:
    """The error for an input, called `name`, that is not what is expected."""
    return ValueError(f"got {shown(value)} for {name}; expected {expected}. {do}")


def check_per_frame(count: int, what: str, frames: int, do: str) -> None:
    """ValueError unless there is one of these for the whole clip, or one for each of its frames."""
    if count not in (1, frames):
        raise ValueError(f"got {count} {what} for {frames} frames; expected one, or one per frame. {do}")
