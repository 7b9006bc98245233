"""The `data` section of a training config: where the data is and how it becomes samples.

data: {kind: videos, path: /data/webvid, csv: /data/webvid/results.csv, size: [256, 256]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Side = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
Size = tuple[Side, Side]  # height, width
Frames = Annotated[int, Field(ge=1, le=256)]
Stride = Annotated[int, Field(ge=1, le=256)]


def _named(path: object) -> object:
    """Refuse an empty path: it would stand for the folder that the command is started in."""
    if isinstance(path, str) and not path.strip():
        raise ValueError("got an empty path; expected the name of a file or folder")
    return path


Place = Annotated[Path, BeforeValidator(_named)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cached(_Model):
    """Latents and text contexts that `encode` wrote."""

    kind: Literal["cached"] = "cached"
    path: Place


class Videos(_Model):
    """A folder of videos: captions in NAME.txt beside NAME.mp4, or in a CSV. The columns are WebVid's.

    A row's file is path / row[folder_column] / row[path_column], with .mp4 where that has no suffix. hints: a
    folder with a video of hints of the same name for each.
    """

    kind: Literal["videos"] = "videos"
    path: Place
    csv: Place | None = None
    frames: Frames = 16
    stride: Stride = 4  # frames of the video from one frame of the clip to the next
    size: Size = (512, 512)
    hints: Place | None = None
    caption_column: str = "name"
    path_column: str = "videoid"
    folder_column: str | None = "page_dir"  # left out where the CSV has no such column


class Images(_Model):
    """A folder of pictures: captions in NAME.txt beside NAME.jpg, or in a CSV. hints: as of videos."""

    kind: Literal["images"] = "images"
    path: Place
    csv: Place | None = None
    size: Size = (512, 512)
    hints: Place | None = None
    caption_column: str = "text"
    path_column: str = "file_name"
    folder_column: str | None = None


class Shards(_Model):
    """WebDataset tars on a local disk: /data/{000..099}.tar, or a folder of them. Captions: .txt, .json."""

    kind: Literal["shards"] = "shards"
    pattern: str = Field(min_length=1, max_length=4096)
    media: Literal["video", "image"] = "video"
    frames: Frames = 16  # of a video
    stride: Stride = 4  # of a video
    size: Size = (512, 512)
    shuffle: int = Field(
        default=4096, ge=1, le=10**9
    )  # samples that are shuffled together; tars are shuffled first
    caption_key: str = "caption"  # in a .json


DataConfig = Annotated[Union[Cached, Videos, Images, Shards], Field(discriminator="kind")]  # noqa: UP007
