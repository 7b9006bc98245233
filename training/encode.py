"""Encodes media to latents and text contexts on disk, once, so that training need not do it again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
import torch.utils.data as torch_data
from torch import Tensor
from tqdm import tqdm

from animatelcm_core.atomic import write_text

from .data.cache_index import INDEX, CacheMeta, read_index
from .data.cache_writer import CacheWriter
from .data.errors import DataError
from .data.reading import Report, Skip, Tally, read
from .data.regular import why_irregular
from .data.sample import Dataset, Sample, to_float
from .locks import sole_writer

SKIPPED = "skipped.json"


class Encoder(Protocol):
    """A VAE and a text model."""

    @property
    def fingerprint(self) -> str:
        """Names both, so that a cache is not used with others."""
        ...

    def encode_pixels(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) float32 in -1..1 -> (n, 4, h/8, w/8) in model units."""
        ...

    def encode_text(self, captions: list[str]) -> Tensor:
        """n captions -> (n, 77, c)."""
        ...


@dataclass(frozen=True)
class EncodeReport:
    """samples: in the cache now, earlier runs included; skipped: name -> reason; seconds: of this run."""

    samples: int
    skipped: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class Encoding:
    """passes: clips of every sample, each from a place of its own; batch: samples encoded together.

    shard_size: samples a file; workers: processes that decode. part: (I, N), only this part of the data, into
    the folder part-I-of-N of the cache.
    """

    seed: int = 0
    passes: int = 1
    batch: int = 1
    shard_size: int = 256
    workers: int = 0
    part: tuple[int, int] = (0, 1)


ENCODING = Encoding()


class _Source(torch_data.Dataset[Sample | Skip]):
    """Position p is sample p mod n of pass p // n; passes differ in where clips begin."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, position: int) -> Sample | Skip:
        return read(self.dataset, position % len(self.dataset), self.seed, position)


def encode(
    dataset: Dataset, encoder: Encoder, out: Path, how: Encoding = ENCODING, report: Report = print
) -> EncodeReport:
    """Encode every sample of `dataset` into `out`; resumes after the last whole shard.

    Skipped files are counted in out/skipped.json. Raises DataError where `out` holds another cache or most
    files cannot be read, OSError for a full disk.
    """
    began = time.monotonic()
    number, parts = how.part
    total = len(dataset) * how.passes
    first, end = total * number // parts, total * (number + 1) // parts
    out = out if parts == 1 else out / f"part-{number}-of-{parts}"
    with sole_writer(out, "encoding"):
        samples, skipped = _encode(dataset, encoder, out, how, first, end, report)
    result = EncodeReport(samples, skipped, time.monotonic() - began)
    _tell(result, out, report)
    return result


def _encode(
    dataset: Dataset, encoder: Encoder, out: Path, how: Encoding, first: int, end: int, report: Report
) -> tuple[int, dict[str, str]]:
    """Samples `first` to `end` of all passes. Returns how many the cache holds, and what was skipped."""
    job = _Job(dataset, encoder, out, how.shard_size, _digest(dataset, how.seed, how.passes))
    done = job.consumed
    if not job.complete:
        source = torch_data.DataLoader(
            _Source(dataset, how.seed),
            sampler=range(first + done, end),
            batch_size=None,
            num_workers=how.workers,
            generator=torch.Generator(),  # its own: the caller's random state stays as it is
        )
        with tqdm(total=end - first, initial=done, unit="sample", disable=None, smoothing=0.05) as bar:
            job.run(iter(source), first, how.batch, bar, report)
    return job.samples, job.skipped


class _Job:
    """The state of an encode: the unfinished cache, and the count of what was skipped."""

    def __init__(self, dataset: Dataset, encoder: Encoder, out: Path, shard_size: int, source: str) -> None:
        self.dataset, self.encoder, self.out = dataset, encoder, out
        self.shard_size, self.source = shard_size, source
        self.writer: CacheWriter | None = None
        self.skipped = _earlier(out)
        index = read_index(out) if (out / INDEX).exists() else None
        if index is not None:  # also checks that it was made from the same
            self.writer = self._writer(index.meta.model_copy(update={"source": source}))

    @property
    def consumed(self) -> int:
        return self.writer.consumed if self.writer else 0

    @property
    def shards(self) -> int:
        return len(self.writer.index.shards) if self.writer else 0

    @property
    def samples(self) -> int:
        return self.writer.samples if self.writer else 0

    @property
    def complete(self) -> bool:
        return self.writer is not None and self.writer.index.complete

    def run(self, source: Iterator[Sample | Skip], first: int, batch: int, bar: tqdm, report: Report) -> None:
        """Encode what `source` yields, a batch at a time."""
        tally = Tally(self.dataset, report if bar.disable else bar.write)
        done = begin = self.consumed
        shards, started = self.shards, time.monotonic()
        try:
            while items := list(islice(source, batch)):
                samples = [item for item in items if isinstance(item, Sample)]
                for skip in (item for item in items if isinstance(item, Skip)):
                    self.skipped[self.dataset.name(skip.index)] = skip.reason
                    tally.skip(skip)
                if samples:
                    self._encode(samples, first, tally)
                bar.update(len(items))
                done += len(items)
                if self.shards != shards:
                    shards = self.shards
                    self._keep_skipped()
                    if bar.disable:
                        report(_progress(done, bar.total, (done - begin) / (time.monotonic() - started)))
            if self.writer is None:
                raise DataError(tally.complaint())
            self.writer.finish()
        finally:
            self._keep_skipped()

    @torch.no_grad()
    def _encode(self, samples: list[Sample], first: int, tally: Tally) -> None:
        pixels = [sample.pixels for sample in samples if sample.pixels is not None]
        if len(pixels) != len(samples) or len({p.shape for p in pixels}) > 1:
            raise DataError("got samples without pixels or of several sizes; expected pixels of one size.")
        frames, _, height, width = pixels[0].shape
        if self.writer is None:
            self.writer = self._writer(
                CacheMeta(frames=frames, height=height, width=width, source=self.source)
            )
        latents = self.encoder.encode_pixels(to_float(torch.cat(pixels)))
        latents = latents.unflatten(0, (len(samples), frames))
        new = list(dict.fromkeys(s.caption for s in samples if not self.writer.knows(s.caption)))
        contexts = dict(zip(new, self.encoder.encode_text(new), strict=True)) if new else {}
        for sample, latent in zip(samples, latents, strict=True):
            index = sample.position % len(self.dataset)
            tally.good(index)
            self.writer.add(
                sample.caption,
                latent,
                contexts.get(sample.caption),
                name=self.dataset.name(index),
                consumed=sample.position - first + 1,
            )

    def _writer(self, meta: CacheMeta) -> CacheWriter:
        return CacheWriter(
            self.out,
            fingerprint=self.encoder.fingerprint,
            meta=meta,
            null_context=self.encoder.encode_text([""])[0],
            shard_size=self.shard_size,
        )

    def _keep_skipped(self) -> None:
        write_text(self.out / SKIPPED, json.dumps(self.skipped, indent=1))


def _digest(dataset: Dataset, seed: int, passes: int) -> str:
    """Digest of the data set's files and settings: an unfinished cache is resumed only with the same ones."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([dataset.settings(), seed, passes]).encode())
    for index in range(len(dataset)):
        digest.update(dataset.name(index).encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def _earlier(out: Path) -> dict[str, str]:
    path = out / SKIPPED
    if why_irregular(path):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(reason, str) for reason in found.values()):
        return {}
    return found


def _progress(done: int, total: float, rate: float) -> str:
    return f"{done}/{total:.0f} samples, {rate:.2f} a second, {(total - done) / rate / 60:.0f} min left"


def _tell(result: EncodeReport, out: Path, report: Report) -> None:
    report(f"{result.samples} samples in {out}, {len(result.skipped)} skipped")
    counts: dict[str, int] = {}
    for reason in result.skipped.values():
        counts[reason] = counts.get(reason, 0) + 1
    for reason, count in sorted(counts.items(), key=lambda item: -item[1])[:10]:
        report(f"  {count} skipped: {reason}")
