"""Puts a LoRA on a ControlNet or T2I-Adapter: the paper's adaptation of image adapters to video (Sec. 4.3).

The result has weights of its own, so that the plain adapter and the adapted one can be used side by side, in
one chain even: the host keeps one set of patches on a network at a time. A ControlNet's are patched by the
host when it loads them; a T2I-Adapter, which the host does not manage, gets them merged here by the host's
arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

from ...formats import AdapterKind, adapter_lora_key, check_adapter_lora, read_tensors, reading
from ..advice import for_artists


def with_adapter_lora(control: Any, path: str, strength: float) -> Any:
    """A copy of the CONTROL_NET with the LoRA at `path`; at strength 0 the CONTROL_NET itself.

    Raises ValueError for another kind of control or file, and for a LoRA that does not fit.
    """
    kind, network = network_of(control)
    tensors, _ = read_tensors(path)
    weights = network.state_dict()
    ends = ".weight"
    shapes = {key.removesuffix(ends): tuple(w.shape) for key, w in weights.items() if key.endswith(ends)}
    with for_artists():
        check_adapter_lora(tensors, Path(path).name, kind, shapes)
    if strength == 0:
        return control
    keys = {adapter_lora_key(kind, module): module + ends for module in shapes}
    with reading(Path(path).name, "a LoRA for this adapter"):
        patches = comfy.lora.load_lora(tensors, keys, log_missing=False)
    made = control.copy()
    if kind == "controlnet":
        made.control_model_wrapped = patched(control.control_model_wrapped, patches, strength)
        made.control_model = made.control_model_wrapped.model
    else:
        made.t2i_model = merged(network, patches, strength)
    return made


def network_of(control: Any) -> tuple[AdapterKind, nn.Module]:
    """What a CONTROL_NET is, and its network. Raises ValueError for any other."""
    attributes: dict[AdapterKind, str] = {"controlnet": "control_model", "t2i_adapter": "t2i_model"}
    for kind, attribute in attributes.items():
        network = getattr(control, attribute, None)
        if isinstance(network, nn.Module):
            return kind, network
    raise ValueError(
        f"got a control of the kind {type(control).__name__}; expected a ControlNet or T2I-Adapter for "
        "SD1.5. A Control-LoRA has no weights of its own that a LoRA could go on: load a whole ControlNet."
    )


def patched(patcher: Any, patches: Mapping[str, Any], strength: float) -> Any:
    """A ModelPatcher of a copy of the network, with the patches that are on `patcher` and these."""
    management = comfy.model_management
    # Unload it alone, which takes its patches out of the weights that are copied.
    others = [m for m in management.current_loaded_models if m.model and not patcher.is_clone(m.model)]
    management.free_memory(1e30, patcher.load_device, others)
    network = copy.deepcopy(patcher.model)
    made = type(patcher)(network, load_device=patcher.load_device, offload_device=patcher.offload_device)
    made.patches = {key: list(known) for key, known in patcher.patches.items()}
    made.add_patches(patches, strength)
    return made


def merged(network: nn.Module, patches: Mapping[str, Any], strength: float) -> nn.Module:
    """A copy of `network` with these patches in its weights."""
    cpu = torch.device("cpu")
    network = copy.deepcopy(network).to(cpu)
    patcher = comfy.model_patcher.ModelPatcher(network, load_device=cpu, offload_device=cpu)
    for key in patcher.add_patches(patches, strength):
        patcher.patch_weight_to_device(key)
    return network
