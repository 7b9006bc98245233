"""Saving motion models in the published layout, and converting other layouts to it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ..motion_module import sinusoidal_positions
from .containers.reading import read_tensors
from .containers.safetensors_writer import write_safetensors
from .layout import ENCODER_PREFIX, position_shapes
from .motion_file import SCHEDULE_KEY, MotionFile, load_motion


def save_motion(
    path: str | PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a motion model in the published layout as .safetensors.

    tensors: published names, `img_encoder.` and `pos_encoder.pe` where the model has them.
    metadata: text to text; `animatelcm.heads` if there are not 8, `animatelcm.schedule` to fix the schedule.
    dtype: of the numbers in the file, such as torch.float16; None keeps each tensor's.
    Raises FormatError if the pack could not load the result, OSError if it cannot be written; whatever was at
    `path` is then untouched.
    """
    load_motion(tensors, metadata, Path(path).name)
    specs = {key: (dtype or value.dtype, tuple(value.shape)) for key, value in tensors.items()}
    write_safetensors(path, specs, lambda key: tensors[key].to(specs[key][0]), metadata)


def published_tensors(file: MotionFile) -> dict[str, Tensor]:
    """All tensors of a motion file in the published layout.

    Position tables are written if the file's layout has them: other programs tell AnimateLCM from AnimateDiff
    by their absence.
    """
    tensors = dict(file.motion)
    if file.positions or not file.kind.startswith("animatelcm"):
        dtype = next(iter(file.motion.values())).dtype
        for key, (_, frames, channels) in position_shapes(file.config).items():
            own = file.positions.get(key.removesuffix(".pos_encoder.pe"))
            table = sinusoidal_positions(frames, channels).to(dtype) if own is None else own
            tensors[key] = table[None]
    return tensors | {ENCODER_PREFIX + key: value for key, value in file.image_encoder.items()}


def convert_motion(
    source: str | PathLike[str], target: str | PathLike[str], dtype: torch.dtype | None = None
) -> MotionFile:
    """Rewrite any motion file that `load_motion` takes as .safetensors in the published layout.

    The schedule read from its layout or name goes into the metadata, so that renaming the file loses nothing.
    Returns what was read. Raises as `read_tensors`, `load_motion` and `save_motion`.
    """
    tensors, metadata = read_tensors(source)
    file = load_motion(tensors, metadata, Path(source).name)
    save_motion(target, published_tensors(file), {**metadata, SCHEDULE_KEY: file.schedule}, dtype)
    return file
