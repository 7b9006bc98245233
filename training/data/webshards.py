"""A data set from WebDataset tars on a local disk; it resumes and splits as folders do.

An epoch shuffles the tars, lines up their samples and shuffles those within windows: reads stay near each
other, and position p is found without reading what lies before it.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from ..randomness import generator_for
from .braces import check_braces
from .config import Shards
from .errors import DataError, UnreadableMedia
from .listing import clean
from .media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, read_clip, read_image
from .regular import why_irregular
from .sample import Dataset, Sample
from .tarindex import TarIndex, tar_index

MAX_MEMBER = 2**31  # bytes of one file that are read into memory
MAX_CAPTION = 2**24


def shard_paths(pattern: str) -> list[Path]:
    """The tars of a folder, or of a pattern with braces, sorted. Raises DataError where there are none."""
    check_braces(pattern)
    if not _too_long(pattern) and Path(pattern).is_dir():
        paths = sorted(Path(pattern).glob("*.tar"))
    else:
        from webdataset.shardlists import expand_urls  # imports a lot: only where tars are read

        try:
            paths = [Path(name) for name in expand_urls(Path(pattern).as_posix())]
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"got the pattern {pattern[:200]} ({error}); expected braces in pairs, such as "
                "{000..099}.tar"
            ) from None
    if not paths:
        raise DataError(f"got no .tar in {pattern}; expected tars, or a pattern such as {{000..099}}.tar")
    return paths


def _too_long(pattern: str) -> bool:
    """Whether no file has such a name: asking for it would be an error of the system."""
    return max(map(len, Path(pattern).parts), default=0) > 255


class WebShards(Dataset):
    """Clips or pictures out of tars. A damaged tar counts as one more sample, which cannot be read."""

    def __init__(self, config: Shards) -> None:
        self.config = config
        self.paths = shard_paths(config.pattern)
        self.indexes: list[TarIndex] = [tar_index(path) for path in self.paths]
        counts = [len(index.members) + (index.damage is not None) for index in self.indexes]
        self.ends = list(accumulate(counts))
        if not self.ends[-1]:
            raise DataError(f"got no sample in the tars of {config.pattern}; expected NAME.mp4 and NAME.txt")

    def __len__(self) -> int:
        return self.ends[-1]

    def _place(self, index: int) -> tuple[int, int]:
        """Number of the tar, number of the sample in it."""
        shard = bisect_right(self.ends, index)
        return shard, index - (self.ends[shard - 1] if shard else 0)

    def name(self, index: int) -> str:
        shard, row = self._place(index)
        members = self.indexes[shard].members
        return (
            f"{self.paths[shard].name}/{members[row].key}" if row < len(members) else self.paths[shard].name
        )

    def order(self, seed: int, epoch: int) -> Tensor:
        generator = generator_for(seed, "epoch", epoch)
        begins = [0, *self.ends[:-1]]
        line = torch.cat(
            [
                torch.arange(begins[shard], self.ends[shard])
                for shard in torch.randperm(len(self.ends), generator=generator).tolist()
            ]
        )
        windows = line.split(self.config.shuffle)
        return torch.cat([window[torch.randperm(len(window), generator=generator)] for window in windows])

    def load(self, index: int, generator: torch.Generator) -> Sample:
        shard, row = self._place(index)
        tar = self.indexes[shard]
        if row == len(tar.members):
            raise UnreadableMedia(f"the tar: {tar.damage}")
        path, parts = self.paths[shard], tar.members[row].parts
        start = torch.rand((), generator=generator).item()
        suffixes = VIDEO_SUFFIXES if self.config.media == "video" else IMAGE_SUFFIXES
        suffix = next((s[1:] for s in suffixes if s[1:] in parts), None)
        if suffix is None:
            raise UnreadableMedia(f"no {self.config.media}: it has {' '.join(sorted(parts))}")
        caption = self._caption(path, parts)
        source = io.BytesIO(_bytes(path, parts[suffix]))
        if self.config.media == "video":
            pixels = read_clip(source, self.config.frames, self.config.stride, self.config.size, start)
        else:
            pixels = read_image(source, self.config.size)[None]
        return Sample(position=index, caption=caption, pixels=pixels)

    def _caption(self, path: Path, parts: dict[str, tuple[int, int]]) -> str:
        try:
            if "txt" in parts:
                caption = _bytes(path, parts["txt"], MAX_CAPTION).decode("utf-8-sig")
            elif "json" in parts:
                caption = json.loads(_bytes(path, parts["json"], MAX_CAPTION))[self.config.caption_key] or ""
            else:
                raise UnreadableMedia("it has no caption: expected a .txt or a .json")
            caption = clean(caption)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableMedia(f"its caption cannot be read: {type(error).__name__} {error}") from None
        if not caption:
            raise UnreadableMedia("its caption is empty")
        return caption

    def captions(self) -> Iterator[tuple[str, str]]:
        for index in range(len(self)):
            shard, row = self._place(index)
            if row < len(self.indexes[shard].members):
                try:
                    caption = self._caption(self.paths[shard], self.indexes[shard].members[row].parts)
                except UnreadableMedia:  # skipped, and told, when its turn comes
                    continue
                yield self.name(index), caption

    def settings(self) -> str:
        return self.config.model_dump_json(include={"kind", "media", "frames", "stride", "size"})


def _bytes(path: Path, place: tuple[int, int], most: int = MAX_MEMBER) -> bytes:
    offset, size = place
    if size > most:
        raise UnreadableMedia(f"absurd size: got {size} bytes, expected up to {most}")
    trouble = why_irregular(path)
    if trouble:
        raise UnreadableMedia(f"the tar: {trouble}")
    try:
        with path.open("rb") as opened:
            opened.seek(offset)
            data = opened.read(size)
    except OSError as error:
        raise UnreadableMedia(f"the tar cannot be read: {error.strerror}") from None
    if len(data) != size:
        raise UnreadableMedia("the tar is cut off")
    return data
