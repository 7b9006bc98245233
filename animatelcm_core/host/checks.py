"""What can go wrong before a picture is wrong, told in plain words: got / expected / do this.

Errors (ValueError) are for what cannot work; warnings are lists of sentences for what works badly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_base
import comfy.model_sampling
import torch
from torch import Tensor, nn

from ..attach import AttachError, check_fit
from .sampling.model_sampling import ScheduleSampling

MIN_FRAMES = 8  # released modules were trained on 16; under 8 the clip falls apart (peers report noise)
MAX_CFG = 3.0  # the guidance is distilled in; the authors use 1 to 2
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
    """ValueError if a clip, or one window of it, is longer than the motion model's positions reach."""
    if frames > most:
        raise ValueError(
            f"got {frames} frames; expected at most {most} for this motion model. Use fewer frames, or put "
            "AnimateLCM Long Video on the MODEL, with context_length 16."
        )


def frame_warnings(frames: int) -> list[str]:
    """What to say about the length of a clip."""
    if frames >= MIN_FRAMES:
        return []
    return [
        f"got {frames} frames; expected {MIN_FRAMES} or more (16 is what the motion models learned). Set the "
        "number of frames, or batch size, of the empty latent to 16; a short clip moves little or falls "
        "apart."
    ]


def sampler_name(sampler: Any) -> str:
    """Name of a SAMPLER's algorithm as users know it, e.g. `lcm`, or an empty string."""
    name = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    return name.removeprefix("sample_")


def _off_schedule(sampling: ScheduleSampling, sigmas: Tensor) -> bool:
    """Whether a noise level is none of the known ones (relative 1e-4), or a step goes to the least of them.

    The latter is what the scheduler normal does: its last step, at t = 9, changes nothing.
    """
    used = sigmas[:-1].detach().float().cpu()
    known = sampling.sigmas
    unknown = (used[:, None] / known - 1).abs().amin(dim=1) > 1e-4
    wasted = used[-1] <= known[0] * 1.0001 and len(used) * 2 < len(known)
    return bool(unknown.any() or wasted)


def sampling_warnings(sampling: Any, sampler: Any, sigmas: Tensor, cfg: float | None) -> list[str]:
    """What to say about the settings of a run on a distilled schedule; nothing on any other."""
    if not isinstance(sampling, ScheduleSampling) or not sampling.distilled:
        return []
    said = []
    name = sampler_name(sampler)
    if name and "lcm" not in name:
        said.append(
            f"got the sampler {name}; expected lcm. Set the sampler to lcm, or use AnimateLCM Sample."
        )
    if cfg is not None and cfg > MAX_CFG:
        said.append(
            f"got cfg {cfg:g}; expected 1 to 2 (at most {MAX_CFG:g}). Lower cfg: colours burn out above that."
        )
    if torch.is_tensor(sigmas) and len(sigmas) > 1 and _off_schedule(sampling, sigmas):
        said.append(
            "got noise levels that this model was not distilled for; expected the scheduler simple. Set it, "
            "or use AnimateLCM Scheduler."
        )
    return said
