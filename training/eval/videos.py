"""Writes and reads the clips of an evaluation: videos that say how they were made, and a sheet of them.

    TO/steps_4/00012.mp4   clip 12 at 4 steps; its comment holds caption and seconds as JSON
    TO/steps_4.png         the first clips, a clip a row

Everything that is measured is read back from these videos, so that a metric can be added, or checked by
others, without sampling again. They are almost lossless for that: 128 pixels and more have half of the colour
resolution, as players want it, smaller pictures all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from einops import rearrange
from torch import Tensor

from animatelcm_core.atomic import beside

from ..data.errors import DataError
from ..data.media import fill, read_clip
from ..samples import FRAME_MILLISECONDS, save_frames

SMALL = 128  # pixels a side: under it every pixel's colour counts
ROWS, COLUMNS, THUMB = 8, 6, 128  # of a sheet: clips, frames of each, pixels a side at most


def clip_path(to: Path, steps: int, number: int) -> Path:
    """Where the video of a clip is."""
    return to / f"steps_{steps}" / f"{number:05d}.mp4"


def codec() -> str:
    """libx264 where PyAV has it, else mpeg4, which every build has."""
    try:
        av.Codec("libx264", "w")
    except UnknownCodecError:
        return "mpeg4"
    return "libx264"


def encoding(name: str, size: tuple[int, int]) -> tuple[str, dict[str, str]]:
    """Pixel format and options of the codec `name` for pictures of `size`."""
    if name == "mpeg4":
        return "yuv420p", {"flags": "+qscale", "global_quality": "236"}  # 2 of 31
    if min(size) < SMALL:
        return "yuv444p", {"crf": "0"}
    return "yuv420p", {"crf": "8"}


def write_video(path: Path, frames: Tensor, about: dict[str, Any], name: str | None = None) -> Path:
    """(f, 3, h, w) in 0..1, even sides, as mp4 with `about` in its comment. Written aside, then renamed.

    name: of the codec, the best one there is if None.
    """
    name = name or codec()
    pixels = (rearrange(frames, "f c h w -> f h w c").clamp(0, 1) * 255).round().byte().cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as part, av.open(str(part), "w", format="mp4") as container:
        container.metadata["comment"] = json.dumps(about)
        stream: Any = container.add_stream(name, rate=1000 // FRAME_MILLISECONDS)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt, stream.options = encoding(name, pixels.shape[1:3])
        for picture in pixels:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_about(path: Path) -> dict[str, Any]:
    """What `write_video` put into the comment. Raises DataError for any other video."""
    try:
        with av.open(str(path)) as container:
            return json.loads(container.metadata["comment"])
    except (FFmpegError, OSError, KeyError, ValueError):
        raise DataError(
            f"got {path}, which is broken or not from an evaluation; expected one of its clips. Remove the "
            "file and start the same command again."
        ) from None


def write_sheet(to: Path, steps: int, clips: int, frames: int, size: tuple[int, int]) -> Path:
    """The sheet of the first clips at this number of steps, as `steps_N.png`."""
    picked = torch.linspace(0, frames - 1, min(frames, COLUMNS)).round().long()
    shrink = max(1, max(size) / THUMB)
    thumb = (round(size[0] / shrink), round(size[1] / shrink))
    rows = []
    for number in range(min(clips, ROWS)):
        clip = read_clip(clip_path(to, steps, number), frames, 1, size, 0.0)[picked]
        rows.append(torch.cat([fill(frame, thumb) for frame in clip], dim=2))
    return save_frames(torch.cat(rows, dim=1)[None].float() / 255, to / f"steps_{steps}.png")
