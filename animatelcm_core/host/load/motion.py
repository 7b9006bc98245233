"""Loads a motion file as a model that the host places, unloads and patches like its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.ops
import torch
from torch import nn

from ...formats import MotionFile, build_image_encoder, build_motion_model, load_motion, read_tensors
from ...motion_module import MotionModel
from ..advice import for_artists
from ..compat import may_load_on_demand, patcher_class


class Names:
    """Gives every network a unique name for as long as it lives; an id() can be used again.

    The host may make several networks of one file: for another device, or without on-demand loading.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()

    def of(self, network: nn.Module) -> str:
        """The network's name, made on the first call."""
        return self._names.setdefault(network, uuid.uuid4().hex)


@dataclass(frozen=True)
class Motion:
    """What travels along an ANIMATELCM_MOTION link.

    name: of the file, as the user chose it. kind: layout of the file.
    schedule: name of the schedule that the file was made for.
    patcher: the host's ModelPatcher of the MotionModel (the host frees objects with a `.patcher` like
    models). encoder: the same of the ImageEncoder, or None.
    names: of the motion model's instances, for a compiled UNet.
    """

    name: str
    kind: str
    schedule: str
    patcher: Any
    encoder: Any = None
    names: Names = field(default_factory=Names)

    @property
    def model(self) -> MotionModel:
        return self.patcher.model


def storage_dtype(file: MotionFile) -> torch.dtype:
    """Type the weights are stored in: the host's choice for a UNet of this size, but never under 16 bits."""
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
    with for_artists():
        file = load_motion(*read_tensors(path), name)
    managed = patcher_class(disable_dynamic)
    # manual_cast: weights follow the type and device of what they meet, in any UNet precision. On-demand
    # loading takes weights from the mapped file; other hosts get copies, so that the file on disk can be
    # replaced.
    how = (comfy.ops.manual_cast, storage_dtype(file), may_load_on_demand(managed))

    def patcher_of(model: Any, factory: Callable[..., Any]) -> Any:
        patcher = managed(
            model,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        patcher.cached_patcher_init = (factory, (path, name))
        return patcher

    model, encoder = build_motion_model(file, *how), build_image_encoder(file, *how)
    return Motion(
        name,
        file.kind,
        file.schedule,
        patcher_of(model, motion_patcher),
        patcher_of(encoder, encoder_patcher) if encoder else None,
    )
