"""Reads and checks a motion file: `load_motion`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..config import SD15_T2V, MotionConfig
from ..schedule import SCHEDULES
from .errors import FormatError, reading
from .identify import identify, motion_kind
from .kinds import MOTION_WORDS, MotionKind
from .layout import (
    BLOCKS,
    ENCODER_PREFIX,
    INCOMPLETE,
    encoder_shapes,
    motion_shapes,
    published_name,
    read_config,
)
from .limits import MAX_CHANNELS, MAX_HEADS
from .positions import own_positions, split_positions, table_length
from .validate import check_dtype, check_finite, check_layout
from .words import shown

# What the pack writes into the metadata of its own files.
HEADS_KEY = "animatelcm.heads"
SCHEDULE_KEY = "animatelcm.schedule"

_DEFAULT_SCHEDULE: dict[str, str] = {"animatelcm_t2v": "text to video", "animatelcm_i2v": "image to video"}


@dataclass(frozen=True, eq=False)
class MotionFile:
    """A checked motion file in the published layout. Do not write to the tensors: they are mapped from disk.

    kind: layout of the file.
    config: sizes, read from the tensors.
    motion: published key -> tensor, positions left out.
    positions: attention block -> (frames, channels), only tables that are not the plain sinusoid.
    image_encoder: key without `img_encoder.` -> tensor; empty but for image to video.
    schedule: name in `SCHEDULES` that such a file was made for.
    """

    kind: MotionKind
    config: MotionConfig
    motion: dict[str, Tensor]
    schedule: str
    positions: dict[str, Tensor] = field(default_factory=dict)
    image_encoder: dict[str, Tensor] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """Kind and size in a few words, with an article."""
        words = MOTION_WORDS[self.kind]
        if self.config.channels == SD15_T2V.channels:
            return words
        return f"{words} of small size (channels {', '.join(map(str, self.config.channels))})"


def load_motion(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, file_name: str = ""
) -> MotionFile:
    """The motion model in the tensors of `read_tensors`.

    file_name: as the user sees it, folders included; a hint on the schedule where the layout does not tell.
    Raises FormatError for every other kind of file, saying what it is, and for the first bad tensor.
    """
    try:
        with reading(file_name or "the file", "a motion model for SD1.5"):
            return _load(tensors, metadata or {}, file_name)
    except FormatError as error:
        if file_name and file_name in error.got:
            raise
        raise error.in_file(file_name) from error.__cause__


def _load(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], file_name: str) -> MotionFile:
    found = identify(tensors)
    if found.kind != "motion":
        raise FormatError(found.words, "a motion model for SD1.5", kind=found.kind)
    kind = motion_kind({key: tuple(value.shape) for key, value in tensors.items()})
    motion, encoder = _parts(tensors, kind)
    motion, tables = split_positions(motion)
    shapes = {key: tuple(value.shape) for key, value in motion.items()}
    config = read_config(shapes, _heads(metadata), table_length(tables, SD15_T2V.max_frames))
    _check_sizes(config)
    check_layout(motion, motion_shapes(config))
    if encoder:
        check_layout(encoder, encoder_shapes(config.channels), ENCODER_PREFIX)
    for key, table in tables.items():
        check_dtype(table, f"positions of {key}")
    for part, prefix in ((motion, ""), (tables, "positions of "), (encoder, ENCODER_PREFIX)):
        check_finite(part, prefix)
    return MotionFile(
        kind=kind,
        config=config,
        motion={key: motion[key] for key in motion_shapes(config)},
        schedule=_schedule(kind, metadata, file_name),
        positions=own_positions(tables, config),
        image_encoder=encoder,
    )


def _parts(tensors: Mapping[str, Tensor], kind: MotionKind) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Motion tensors under published names, and the image encoder's without its prefix.

    Training checkpoints hold the whole video UNet. Its image layers are left out: they are the base model's.
    """
    motion: dict[str, Tensor] = {}
    encoder: dict[str, Tensor] = {}
    whole_unet = any(".resnets." in key for key in tensors)
    for key, value in tensors.items():
        if key.startswith(ENCODER_PREFIX):
            encoder[key[len(ENCODER_PREFIX) :]] = value
        elif BLOCKS.match(key) or not whole_unet:
            motion[published_name(key) if kind == "diffusers_motion_adapter" else key] = value
    return motion, encoder


def _heads(metadata: Mapping[str, str]) -> int:
    text = metadata.get(HEADS_KEY, str(SD15_T2V.heads))
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_HEADS:
        raise FormatError(
            f"{HEADS_KEY} {shown(repr(text))} in the metadata",
            f"a whole number from 1 to {MAX_HEADS}",
            INCOMPLETE,
        )
    return int(text)


def _check_sizes(config: MotionConfig) -> None:
    """FormatError for widths that the network's group norms (32 groups) or heads cannot divide."""
    for channels in config.channels:
        if channels > MAX_CHANNELS:
            raise FormatError(f"{channels:,} channels", f"at most {MAX_CHANNELS}", INCOMPLETE)
        if not channels or channels % 32 or channels % config.heads:
            raise FormatError(
                f"{channels} channels with {config.heads} heads",
                "a multiple of 32 and of the heads",
                INCOMPLETE,
            )


def _schedule(kind: MotionKind, metadata: Mapping[str, str], file_name: str) -> str:
    """Name of the schedule for this file.

    The pack's own metadata decides, then the layout. Layouts with position tables do not tell distilled files
    (AnimateLCM in diffusers' layout, other LCM modules) from AnimateDiff's: there `lcm` in the file's name or
    in its metadata does.
    """
    if SCHEDULE_KEY in metadata:
        name = metadata[SCHEDULE_KEY]
        if name not in SCHEDULES:
            raise FormatError(
                f"{SCHEDULE_KEY} {shown(repr(name))} in the metadata", f"one of {list(SCHEDULES)}", INCOMPLETE
            )
        return name
    if kind in _DEFAULT_SCHEDULE:
        return _DEFAULT_SCHEDULE[kind]
    hints = " ".join([file_name, *metadata.values()]).lower()
    return "text to video" if "lcm" in hints else "animatediff"
