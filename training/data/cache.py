"""Reads the latents and text contexts that `encode` wrote, by number, mapped from disk."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .cache_index import INDEX, CacheIndex, CacheMeta, read_index
from .cache_writer import CacheWriter, shard_captions
from .errors import DataError, UnreadableMedia
from .regular import why_irregular
from .sample import Dataset, Sample

__all__ = ["CacheMeta", "CacheWriter", "CachedDataset"]


MAX_PARTS = 100_000
FLOATS = (torch.float16, torch.bfloat16, torch.float32)
INTEGERS = (torch.int64, torch.int32, torch.int16)


class CachedDataset(Dataset):
    """A complete cache: a folder with index.json, or one with all its part-I-of-N folders.

    fingerprint: of the VAE and text model that are used now; None: any. Raises DataError for a cache that is
    unfinished, incomplete, or from other models.
    """

    def __init__(self, path: Path, fingerprint: str | None = None) -> None:
        folders = [path] if (path / INDEX).exists() else _parts(path)
        indexes = [_checked(folder, fingerprint) for folder in folders]
        for folder, index in zip(folders, indexes, strict=True):
            _check_alike(folder, index, indexes[0])
        self.path, self._index = path, indexes[0]
        self._files: list[Path] = []
        self._text_bases: list[tuple[int, int]] = []  # first and end of the part that a shard is in
        samples: list[int] = []
        texts: list[int] = []
        for folder, index in zip(folders, indexes, strict=True):
            base = sum(texts)
            end = base + sum(shard.texts for shard in index.shards)
            for shard in index.shards:
                self._files.append(folder / shard.file)
                self._text_bases.append((base, end))
                samples.append(shard.samples)
                texts.append(shard.texts)
        self._ends, self._text_ends = list(accumulate(samples)), list(accumulate(texts))
        self._open: dict[int, Any] = {}  # shard -> safetensors handle
        self._captions: dict[int, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_captions": {}}  # a worker opens the files itself

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def meta(self) -> CacheMeta:
        """Frames and size of the pixels that were encoded."""
        return self._index.meta

    @property
    def fingerprint(self) -> str:
        """Of the VAE and the text model."""
        return self._index.fingerprint

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(f, 4, h/8, w/8)"""
        assert self._index.latent_shape is not None
        return self._index.latent_shape

    @property
    def null_context(self) -> Tensor:
        """(77, c) float16: the context of the empty caption."""
        return self._handle(0).get_slice("contexts")[0]

    def caption(self, index: int) -> str:
        """The caption of a sample, without its latents."""
        return self._text(index)[0]

    def name(self, index: int) -> str:
        shard, row = _find(self._ends, index)
        return f"{self._files[shard].name}[{row}]"

    def load(self, index: int, generator: torch.Generator) -> Sample:
        shard, row = _find(self._ends, index)
        try:
            handle = self._handle(shard)
            latents = handle.get_slice("latents")[row]
            caption, context = self._text(index)
        except UnreadableMedia:
            raise
        except Exception as error:  # the library's own, or what a shard of other numbers leads to
            raise UnreadableMedia(f"its shard is broken: {type(error).__name__} {error}") from None
        if tuple(latents.shape) != self.latent_shape or tuple(context.shape) != self._index.context_shape:
            raise UnreadableMedia(f"got latents {tuple(latents.shape)}, expected {self.latent_shape}")
        for what, value in (("latents", latents), ("context", context)):
            if value.dtype not in FLOATS:
                raise UnreadableMedia(f"its {what} are {value.dtype}, expected float16: encode it again")
            if not torch.isfinite(value).all():
                raise UnreadableMedia(f"its {what} has numbers that are not finite; encode it again")
        return Sample(index, caption, latents=latents, context=context)

    def _text(self, index: int) -> tuple[str, Tensor]:
        """Caption and (77, c) context of a sample."""
        shard, row = _find(self._ends, index)
        (base, end), number = self._text_bases[shard], self._handle(shard).get_slice("text")[row]
        if number.ndim or number.dtype not in INTEGERS or not 0 <= int(number) < end - base:
            raise UnreadableMedia(
                f"its text is {number.flatten()[:4].tolist()}, expected 0 to {end - base - 1}"
            )
        home, place = _find(self._text_ends, int(number) + base)
        if home not in self._captions:
            before = self._text_ends[home - 1] if home else 0
            self._captions[home] = shard_captions(self._files[home], self._text_ends[home] - before)
        return self._captions[home][place], self._handle(home).get_slice("contexts")[place]

    def _handle(self, shard: int) -> Any:
        if shard not in self._open:
            trouble = why_irregular(self._files[shard])
            if trouble:
                raise UnreadableMedia(f"its shard: {trouble}")
            self._open[shard] = safe_open(self._files[shard], framework="pt")
        return self._open[shard]


def _find(ends: list[int], number: int) -> tuple[int, int]:
    """Shard and row of a sample or text."""
    shard = bisect_right(ends, number)
    return shard, number - (ends[shard - 1] if shard else 0)


def _parts(path: Path) -> list[Path]:
    """The part-I-of-N folders in order. Raises DataError where one is missing."""
    found = sorted(path.glob("part-*-of-*/"))
    count = found[0].name.rpartition("-")[2] if found else ""
    if not count.isdecimal() or not 0 < int(count[:9]) <= MAX_PARTS or len(count) > 9:
        raise DataError(f"got no {INDEX} in {path}; expected a folder that encode wrote: run encode first.")
    wanted = [path / f"part-{number}-of-{count}" for number in range(int(count))]
    lacking = [folder.name for folder in wanted if not (folder / INDEX).exists()]
    if lacking or len(found) != len(wanted):
        raise DataError(
            f"got {len(found)} parts in {path}, expected part-0 to part-{int(count) - 1} of {count}; "
            f"missing: {', '.join(lacking) or 'none'}: run encode for those, and remove others."
        )
    return wanted


def _checked(folder: Path, fingerprint: str | None) -> CacheIndex:
    index = read_index(folder)
    if not index.complete or not index.samples:
        raise DataError(
            f"got an unfinished cache in {folder} with {index.samples} samples; expected a complete one: run "
            "the same encode again, it resumes there."
        )
    if fingerprint is not None and index.fingerprint != fingerprint:
        raise DataError(
            f"got a cache in {folder} made by {index.fingerprint}, expected {fingerprint}: encode the data "
            "again with the VAE and text model of this run."
        )
    return index


def _check_alike(folder: Path, index: CacheIndex, first: CacheIndex) -> None:
    for field in ("fingerprint", "meta", "latent_shape", "context_shape"):
        if getattr(index, field) != getattr(first, field):
            raise DataError(
                f"got {folder} with {field} {getattr(index, field)}, expected {getattr(first, field)} as in "
                "the first part: encode all parts from the same data with the same models."
            )
