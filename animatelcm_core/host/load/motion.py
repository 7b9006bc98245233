"""A motion file as a model that the host manages: placed, unloaded and patched like its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ...formats import MotionFile, build_image_encoder, build_motion_model, load_motion, read_tensors
from ...motion_module import MotionModel


@dataclass(frozen=True)
class Motion:
    """What travels along an ANIMATELCM_MOTION link.

    name: of the file, as the user chose it. kind: layout of the file.
    schedule: name of the schedule that the file was made for.
    patcher: the host's ModelPatcher of the MotionModel (the host frees objects with a `.patcher` like
    models). encoder: the same of the ImageEncoder, or None.
    """

    name: str
    kind: str
    schedule: str
    patcher: Any
    encoder: Any = None

    @property
    def model(self) -> MotionModel:
        return self.patcher.model


def is_dynamic(patcher: Any) -> bool:
    """Whether the host loads this patcher's weights on demand (NVIDIA, ComfyUI 0.16 and later)."""
    return getattr(patcher, "is_dynamic", bool)()


def patcher_class(disable_dynamic: bool = False) -> Callable[..., Any]:
    """The host's class for a managed model. Looked up on every call: the host decides while it starts."""
    core = comfy.model_patcher
    return core.ModelPatcher if disable_dynamic else getattr(core, "CoreModelPatcher", core.ModelPatcher)


def storage_dtype(file: MotionFile) -> torch.dtype:
    """Type the weights are kept in: the host's choice for a UNet of this size, but never under 16 bits."""
    weights = list(file.motion.values())
    chosen = comfy.model_management.unet_dtype(
        model_params=sum(w.numel() for w in weights), weight_dtype=weights[0].dtype
    )
    return chosen if chosen.itemsize >= 2 else torch.float16


def load_file(path: str, name: str = "") -> Motion:
    """Motion of the file at `path`. Raises FormatError, a ValueError in plain words, for any other file."""
    return _managed(path, name or path, disable_dynamic=False)


def motion_patcher(path: str, name: str, disable_dynamic: bool = False) -> Any:
    """ModelPatcher of a file's motion model; the host calls this again for another device."""
    return _managed(path, name, disable_dynamic).patcher


def encoder_patcher(path: str, name: str, disable_dynamic: bool = False) -> Any:
    """ModelPatcher of a file's image encoder; the host calls this again for another device."""
    return _managed(path, name, disable_dynamic).encoder


def _managed(path: str, name: str, disable_dynamic: bool) -> Motion:
    file = load_motion(*read_tensors(path), name)
    managed = patcher_class(disable_dynamic)
    # manual_cast: weights follow the type and device of what they meet, in any UNet precision. On-demand
    # loading takes weights from the mapped file; other hosts get copies, so that the file on disk can be
    # replaced.
    on_demand = managed is not comfy.model_patcher.ModelPatcher
    how = (comfy.ops.manual_cast, storage_dtype(file), on_demand)

    def patcher_of(model: Any, factory: Callable[..., Any]) -> Any:
        patcher = managed(
            model,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        patcher.cached_patcher_init = (factory, (path, name))
        return patcher

    model, encoder = build_motion_model(file, *how), build_image_encoder(file, *how)
    model.uid = uuid.uuid4().hex  # type: ignore[assignment]  # names these weights to a compiled UNet
    return Motion(
        name,
        file.kind,
        file.schedule,
        patcher_of(model, motion_patcher),
        patcher_of(encoder, encoder_patcher) if encoder else None,
    )


def on_device_of(model: Any, patcher: Any) -> Any:
    """A clone of the motion's `patcher` that works where MODEL works."""
    if is_dynamic(patcher) and model.load_device.type == "cpu" and not is_dynamic(model):
        patcher = patcher.clone(disable_dynamic=True)  # on-demand loading is for graphics cards only
    else:
        patcher = patcher.clone()
    patcher.load_device = model.load_device
    patcher.offload_device = model.offload_device
    if hasattr(patcher, "register_load_device"):
        patcher.register_load_device(patcher.load_device)
    return patcher
