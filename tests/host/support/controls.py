"""ControlNets and T2I-Adapters for the small model, put on conditions by the host's own nodes."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import small_files
from .studio import Studio


def controlnet(studio: Studio) -> Any:
    """The small ControlNet in a network of the host's class, whose own loader knows SD1.5's size only."""
    config = {
        key: value
        for key, value in studio.model.model.model_config.unet_config.items()
        if key not in ("out_channels", "dtype")
    }
    ops = studio.comfy.module("comfy.ops").manual_cast
    network = studio.comfy.module("comfy.cldm.cldm").ControlNet(**config, hint_channels=3, operations=ops)
    weights = load_file(studio.path(small_files.CONTROLNET))
    network.load_state_dict({key.removeprefix("control_model."): v.float() for key, v in weights.items()})
    device = torch.device("cpu")
    return studio.comfy.module("comfy.controlnet").ControlNet(network, load_device=device)


def t2i_adapter(studio: Studio) -> Any:
    """The small T2I-Adapter, by the stock loader."""
    name = Path(small_files.T2I_ADAPTER).name
    return studio.comfy.run("ControlNetLoader", control_net_name=name)[0]


def network_of(control: Any) -> torch.nn.Module:
    return control.control_model if hasattr(control, "control_model") else control.t2i_model


def applied(studio: Studio, control: Any, hint: Tensor, positive: Any = None, **settings: Any) -> Any:
    """Positive and negative conditions with `hint` (f, h, w, 3), after others that are there."""
    given = {"strength": 0.5, "start_percent": 0.0, "end_percent": 1.0} | settings
    positive, negative = positive or (studio.positive, studio.negative)
    return studio.comfy.run(
        "ControlNetApplyAdvanced",
        positive=positive,
        negative=negative,
        control_net=control,
        image=hint,
        **given,
    )


def controlled(
    studio: Studio, model: Any, control: Any, hint: Tensor, frames: int = 8, cfg: float = 1.5, **how: Any
) -> Tensor:
    """A run with this hint on both conditions."""
    positive, negative = applied(studio, control, hint)
    return studio.sample(model, frames, cfg=cfg, positive=positive, negative=negative, **how)


def numbered(frames: int, pixels: int = 64) -> Tensor:
    """(frames, pixels, pixels, 3): every pixel of a frame is the frame's number, over 256."""
    return (torch.arange(frames) / 256).reshape(-1, 1, 1, 1).expand(-1, pixels, pixels, 3).contiguous()


@contextmanager
def hints_seen(control: Any):
    """List of the frame numbers of `numbered` hints in every evaluation of the control's network."""
    seen: list[list[int]] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        hint = kwargs["hint"] if "hint" in kwargs else args[0]
        seen.append([round(float(value) * 256) for value in hint[:, 0, 0, 0]])

    handle = network_of(control).register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()
