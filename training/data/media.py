"""Reads pixels from files: clips of videos (PyAV) and pictures (Pillow), scaled and cropped to a size.

No file is trusted: only containers of video are tried (no playlists, which could name other files or
hosts), sizes are checked before pixels are made, and what goes wrong becomes UnreadableMedia with the reason.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageOps
from torch import Tensor

from .errors import UnreadableMedia
from .regular import MISSING, why_irregular

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".ts", ".gif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_SIDE, MAX_PIXELS = 16384, 36_000_000  # of one frame: 8K video passes

_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif",
    "protocol_whitelist": "file",
}
_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

Source = Path | IO[bytes]


def read_clip(source: Source, frames: int, stride: int, size: tuple[int, int], start: float) -> Tensor:
    """(frames, 3, height, width) uint8 RGB out of a video: every `stride`-th frame.

    start: 0..1, where in the video the clip begins: 0 at its first frame, 1 so that it ends with the last.
    Decodes from the keyframe before to the last frame needed. Raises UnreadableMedia.
    """
    _check_regular(source, "a video")
    try:
        with av.open(
            str(source) if isinstance(source, Path) else source, options=_OPTIONS, metadata_errors="ignore"
        ) as container:
            return _read(container, frames, stride, size, start)
    except FileNotFoundError:
        raise UnreadableMedia("there is no such file") from None
    except (FFmpegError, OSError) as error:
        raise UnreadableMedia(f"not a video, or a broken one: {_said(error)}") from None


def _read(container: InputContainer, frames: int, stride: int, size: tuple[int, int], start: float) -> Tensor:
    stream = _video_stream(container)
    span = (frames - 1) * stride + 1
    rate, total = stream.average_rate, _frame_count(stream)
    taken = None
    if rate and stream.time_base and total >= span:
        first = _first(total, span, start)
        taken = _from_keyframe(container, stream, Fraction(first) / rate, rate, frames, stride)
    if taken is None or len(taken) < frames:  # the header is silent or wrong: count
        container.seek(0)
        total = sum(1 for _ in _sound(container, stream))
        if total < span:
            raise UnreadableMedia(
                f"too short: got {total} frames, expected {span} or more ({frames} with stride {stride})"
            )
        taken = _counted(container, stream, _first(total, span, start), frames, stride)
    return torch.stack([_pixels(frame, size) for frame in taken])


def _first(total: int, span: int, start: float) -> int:
    return min(int(start * (total - span + 1)), total - span)


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise UnreadableMedia("it has no video stream")
    stream = container.streams.video[0]
    check_size(stream.width, stream.height)
    stream.thread_type = "NONE"  # loader workers are the parallelism
    return stream


def check_size(width: int, height: int) -> None:
    """Raises UnreadableMedia for a picture size that no camera makes."""
    if min(width, height) < 1 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnreadableMedia(
            f"absurd size: got {width}x{height}, expected up to {MAX_SIDE} a side and {MAX_PIXELS} pixels"
        )


def _frame_count(stream: VideoStream) -> int:
    """From the header; 0 where it does not say."""
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base and stream.average_rate:
        return int(stream.duration * stream.time_base * stream.average_rate)
    return 0


def _from_keyframe(
    container: InputContainer, stream: VideoStream, begin: Fraction, rate: Fraction, frames: int, stride: int
) -> list[VideoFrame] | None:
    """Frames from `begin` (seconds after the stream's start); None where their times do not let one tell."""
    assert stream.time_base is not None
    ticks = stream.time_base
    target = (stream.start_time or 0) + round(begin / ticks)
    slack = 1 / (2 * rate * ticks)  # half a frame
    container.seek(target, stream=stream)  # to the keyframe before
    taken: list[VideoFrame] = []
    count = 0  # of frames from `begin` on
    for number, frame in enumerate(_sound(container, stream)):
        if frame.pts is None or (number == 0 and frame.pts > target + slack):
            return None
        if frame.pts < target - slack:
            continue
        if count % stride == 0:
            taken.append(frame)
            if len(taken) == frames:
                break
        count += 1
    return taken


def _counted(
    container: InputContainer, stream: VideoStream, first: int, frames: int, stride: int
) -> list[VideoFrame]:
    """Frames number first, first + stride, ..., counted from the beginning of the video."""
    container.seek(0)
    last = first + (frames - 1) * stride
    upto = itertools.islice(_sound(container, stream), last + 1)
    return [frame for number, frame in enumerate(upto) if number >= first and (number - first) % stride == 0]


def _sound(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decoded frames. Raises UnreadableMedia for one that the decoder calls damaged or that is too large."""
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise UnreadableMedia(f"broken: the frame at {frame.time} s is damaged")
        check_size(frame.width, frame.height)
        yield frame


def _pixels(frame: VideoFrame, size: tuple[int, int]) -> Tensor:
    """(3, height, width) uint8, turned upright, filled and cropped."""
    picture = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
    return fill(torch.rot90(picture, round(frame.rotation / 90) % 4, (1, 2)), size)


def fill(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 -> (3, *size): scaled to cover the size, antialiased, and cropped at the centre."""
    height, width = picture.shape[1:]
    scale = max(size[0] / height, size[1] / width)
    larger = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if larger != (height, width):
        picture = F.interpolate(picture[None], larger, mode="bicubic", antialias=True)[0]
    top, left = (larger[0] - size[0]) // 2, (larger[1] - size[1]) // 2
    return picture[:, top : top + size[0], left : left + size[1]].contiguous()


def read_image(source: Source, size: tuple[int, int]) -> Tensor:
    """(3, height, width) uint8 RGB of a picture; transparent becomes white. Raises UnreadableMedia."""
    _check_regular(source, "a picture")
    try:
        with Image.open(source, formats=_IMAGE_FORMATS) as opened:
            check_size(*opened.size)
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            picture = np.array(upright.convert("RGB"))
    except FileNotFoundError:
        raise UnreadableMedia("there is no such file") from None
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"absurd size: {_said(error)}") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise UnreadableMedia(f"not a picture, or a broken one: {_said(error)}") from None
    return fill(torch.from_numpy(picture).permute(2, 0, 1), size)


def _check_regular(source: Source, what: str) -> None:
    """Raises UnreadableMedia for a path that is not there or would be waited for."""
    trouble = why_irregular(source) if isinstance(source, Path) else None
    if trouble:
        raise UnreadableMedia(trouble if trouble == MISSING else f"not {what}: {trouble}")


def _said(error: Exception) -> str:
    """The library's words, on one line, without the path that the report names anyway."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split())
