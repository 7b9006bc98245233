"""Every question about the running host: ComfyUI 0.3.75 to 0.30.0 differ, and no other file asks how.

Looked up on every call: the host decides some of it while it starts.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_patcher
import comfy.sd
import torch
from comfy_api.latest import io
from torch import Tensor


def schema(node_id: str, **fields: Any) -> io.Schema:
    """A node schema from the fields that the running host knows; others (search_aliases, ...) are dropped."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(node_id=node_id, **{name: value for name, value in fields.items() if name in known})


def widget(kind: Any, name: str, **arguments: Any) -> Any:
    """An input such as `io.Int.Input` from the arguments that the running host knows."""
    return kind.Input(name, **known_arguments(kind.Input.__init__, arguments))


def output(kind: Any, label: str, tooltip: str) -> Any:
    """An output without an id: ids of inputs and outputs must differ on 0.3.75, and labels may not."""
    return kind.Output(display_name=label, tooltip=tooltip)


def known_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the named `arguments` that the running host's `function` takes."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


def is_dynamic(patcher: Any) -> bool:
    """Whether the host loads this patcher's weights on demand (NVIDIA, ComfyUI 0.16 and later)."""
    return getattr(patcher, "is_dynamic", bool)()


def patcher_class(disable_dynamic: bool = False) -> Callable[..., Any]:
    """The host's class for a managed model."""
    core = comfy.model_patcher
    return core.ModelPatcher if disable_dynamic else getattr(core, "CoreModelPatcher", core.ModelPatcher)


def may_load_on_demand(patcher: Callable[..., Any]) -> bool:
    """Whether this class of patchers may take weights from the mapped file while a model runs."""
    return patcher is not comfy.model_patcher.ModelPatcher


def clone_for(model: Any, patcher: Any) -> Any:
    """A clone of `patcher` that works on the devices of MODEL."""
    if is_dynamic(patcher) and model.load_device.type == "cpu" and not is_dynamic(model):
        patcher = patcher.clone(disable_dynamic=True)  # on-demand loading is for graphics cards only
    else:
        patcher = patcher.clone()
    patcher.load_device = model.load_device
    patcher.offload_device = model.offload_device
    if hasattr(patcher, "register_load_device"):
        patcher.register_load_device(patcher.load_device)
    return patcher


def make_clip(target: Any, weights: Mapping[str, Tensor], **arguments: Any) -> Any:
    """CLIP of the networks that `target` names, with these weights. Newer hosts load them on creation."""
    if "state_dict" in inspect.signature(comfy.sd.CLIP.__init__).parameters:
        return comfy.sd.CLIP(target, state_dict=weights, **arguments)
    clip = comfy.sd.CLIP(target, **arguments)
    clip.load_sd(weights, full_model=True)
    return clip


def window_frames(window: Any) -> list[int] | None:
    """Frame numbers of one of the host's context windows; None if it does not cut along the frames.

    ComfyUI 0.24 and later may put one frame in front.
    """
    if window is None or getattr(window, "dim", 0) != 0:
        return None
    anchor = getattr(window, "causal_anchor_index", None)
    in_front = [anchor] if anchor is not None and anchor >= 0 else []
    return [*in_front, *window.index_list]


def device_copies(control: Any) -> Mapping[Any, Any]:
    """Device -> copy of a CONTROL_NET for it (ComfyUI 0.24 and later)."""
    return getattr(control, "multigpu_clones", None) or {}


def without_hints(control: Any) -> None:
    """Take from a CONTROL_NET what it computed from all its hints; the hints themselves stay.

    The host keeps one of each by these names; a change that was proposed for it keeps several, in dicts by
    size: cond_hints, control_inputs.
    """
    names = ("cond_hint", "extra_concat", "control_input")
    for name, value in list(vars(control).items()):
        if name in names or (name.startswith(names) and torch.is_tensor(value) and not _is_given(name)):
            setattr(control, name, None)
        elif name.startswith(names) and isinstance(value, dict | list) and not _is_given(name):
            setattr(control, name, type(value)())  # a new one: the control it was copied from has the other


def _is_given(name: str) -> bool:
    """Whether an attribute of a CONTROL_NET holds what came in, cond_hint_original or extra_concat_orig."""
    return name.endswith(("_original", "_orig"))


def device_patchers(model: Any, options: Mapping[str, Any]) -> list[Any]:
    """The ModelPatchers, one per device, that an evaluation of a BaseModel runs on."""
    clones = options.get("multigpu_clones")
    return list(clones.values()) if clones else [model.current_patcher]


def running_server() -> Any:
    """The host's web server, None where none runs."""
    from server import PromptServer  # importing it needs what only a whole ComfyUI has

    return getattr(PromptServer, "instance", None)
