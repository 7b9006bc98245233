"""Data sets from a folder of videos or pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from .config import Images, Videos
from .errors import UnreadableMedia
from .listing import Columns, Entry, caption_beside, check_folder, inside, list_csv, list_folder
from .media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, read_clip, read_image
from .sample import Dataset, Sample


class _Folder(Dataset):
    """Files below `root`, listed once; a file is opened when its sample is asked for."""

    def __init__(self, root: Path, entries: list[Entry], hints: Path | None = None) -> None:
        self.root, self.entries, self.hints = root, entries, hints
        if hints is not None:
            check_folder(hints)

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        return self.entries[index].path

    def load(self, index: int, generator: torch.Generator) -> Sample:
        entry = self.entries[index]
        path = inside(self.root, entry.path)
        caption = caption_beside(self.root, entry.path) if entry.caption is None else entry.caption
        if not caption:
            raise UnreadableMedia("its caption is empty")
        start = torch.rand((), generator=generator).item()
        hints = None
        if self.hints is not None:
            hints = self.pixels(inside(self.hints, entry.path), start)
        return Sample(position=index, caption=caption, pixels=self.pixels(path, start), hints=hints)

    def captions(self) -> Iterator[tuple[str, str]]:
        for entry in self.entries:
            caption = entry.caption
            if caption is None:
                try:
                    caption = caption_beside(self.root, entry.path)
                except UnreadableMedia:  # skipped, and told, when its turn comes
                    continue
            yield entry.path, caption

    @abstractmethod
    def pixels(self, path: Path, start: float) -> Tensor:
        """(f, 3, h, w) uint8; start: 0..1, where in a video. Raises UnreadableMedia."""


class VideoFolder(_Folder):
    """Clips that begin at a random place of each video. Raises DataError where there are no files."""

    def __init__(self, config: Videos) -> None:
        columns = Columns(config.caption_column, config.path_column, config.folder_column, ".mp4")
        super().__init__(config.path, _entries(config, columns, VIDEO_SUFFIXES), config.hints)
        self.config = config

    def pixels(self, path: Path, start: float) -> Tensor:
        return read_clip(path, self.config.frames, self.config.stride, self.config.size, start)

    def settings(self) -> str:
        return self.config.model_dump_json(include={"kind", "frames", "stride", "size"})


class ImageFolder(_Folder):
    """Pictures as clips of one frame. Raises DataError where there are no files."""

    def __init__(self, config: Images) -> None:
        columns = Columns(config.caption_column, config.path_column, config.folder_column, ".jpg")
        super().__init__(config.path, _entries(config, columns, IMAGE_SUFFIXES), config.hints)
        self.config = config

    def pixels(self, path: Path, start: float) -> Tensor:
        return read_image(path, self.config.size)[None]

    def settings(self) -> str:
        return self.config.model_dump_json(include={"kind", "size"})


def _entries(config: Videos | Images, columns: Columns, suffixes: tuple[str, ...]) -> list[Entry]:
    check_folder(config.path)
    if config.csv is None:
        return list_folder(config.path, suffixes)
    return list_csv(config.csv, columns, suffixes)
