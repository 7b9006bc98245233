"""Writes a cache of latents shard by shard: a crash or a full disk costs at most the current shard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from animatelcm_core.atomic import write_bytes

from .cache_index import INDEX, CacheIndex, CacheMeta, Shard, read_index, write_index
from .errors import DataError
from .regular import why_irregular


@dataclass(frozen=True)
class _Row:
    latents: Tensor  # float16
    text: int
    name: str


class CacheWriter:
    """`with CacheWriter(...) as writer: writer.add(...)`; an end without an error completes the cache.

    fingerprint: names the VAE and text model; null_context: (77, c) of the empty caption. Resumes an
    unfinished cache in `out`: its samples are kept, `samples` and `consumed` say how many. Raises DataError
    where `out` holds a cache made from something else.
    """

    def __init__(
        self, out: Path, *, fingerprint: str, meta: CacheMeta, null_context: Tensor, shard_size: int = 256
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        tokens, channels = null_context.shape
        fresh = CacheIndex(fingerprint=fingerprint, meta=meta, context_shape=(tokens, channels))
        self.out, self._shard_size = out, shard_size
        self._rows: list[_Row] = []
        self._contexts: list[Tensor] = []
        self._captions: list[str] = []  # new ones of the shard in the making
        self._ids: dict[str, int] = {}
        if (out / INDEX).exists():
            self.index = read_index(out)
            check_same(out, self.index, fresh)
            for unfinished in out.glob("*.part"):  # of a run that was killed while it wrote
                unfinished.unlink()
            self._remember_captions()
        else:
            self.index = fresh
            write_index(out, fresh)
        self._consumed = self.index.consumed
        if not self.index.shards:
            self._remember("", half(null_context, "the null context"))

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()

    @property
    def samples(self) -> int:
        """How many samples were added, including those of earlier runs and of the current shard."""
        return self.index.samples + len(self._rows)

    @property
    def consumed(self) -> int:
        """Samples of the source that are safe on disk or known to be unreadable: resume with this number."""
        return self.index.consumed

    def knows(self, caption: str) -> bool:
        """Whether the context of this caption is there already."""
        return caption in self._ids

    def add(
        self,
        caption: str,
        latents: Tensor,
        context: Tensor | None = None,
        *,
        name: str = "",
        consumed: int | None = None,
    ) -> None:
        """Add a sample; a full shard is written at once.

        latents: (f, 4, h/8, w/8) in model units; context: (77, c), needed only for a caption that is new;
        consumed: samples of the source up to and with this one, where some were skipped. Raises DataError for
        other shapes or numbers that are not finite, OSError for a full disk.
        """
        name = name or f"sample {self.samples}"
        if self.index.complete:
            raise DataError(f"got another sample for {self.out}, which is complete; use an empty folder.")
        self._check_shape(name, latents)
        latents = half(latents, f"the latents of {name}")
        if caption not in self._ids:
            if context is None or tuple(context.shape) != self.index.context_shape:
                got = "none" if context is None else tuple(context.shape)
                raise DataError(f"got context {got} for {name}; expected {self.index.context_shape}.")
            self._remember(caption, half(context, f"the context of {name}"))
        self._rows.append(_Row(latents, self._ids[caption], name))
        self._consumed = self._consumed + 1 if consumed is None else consumed
        if len(self._rows) >= self._shard_size:
            self._flush(complete=False)

    def finish(self) -> None:
        """Write what is left and mark the cache as complete. Raises DataError for a cache without samples."""
        if self.samples == 0:
            raise DataError(f"got no sample for the cache {self.out}; expected one or more.")
        if not self.index.complete:
            self._flush(complete=True)

    def _check_shape(self, name: str, latents: Tensor) -> None:
        if self.index.latent_shape is None:
            if latents.ndim != 4:
                raise DataError(f"got latents {tuple(latents.shape)} for {name}; expected (f, 4, h/8, w/8).")
            frames, channels, height, width = latents.shape
            self.index.latent_shape = (frames, channels, height, width)
        if tuple(latents.shape) != self.index.latent_shape:
            raise DataError(
                f"got latents {tuple(latents.shape)} for {name}; expected {self.index.latent_shape}, as in "
                "the other samples."
            )

    def _remember(self, caption: str, context: Tensor) -> None:
        self._ids[caption] = len(self._ids)
        self._captions.append(caption)
        self._contexts.append(context)

    def _remember_captions(self) -> None:
        for shard in self.index.shards:
            for caption in shard_captions(self.out / shard.file, shard.texts):
                self._ids[caption] = len(self._ids)

    def _flush(self, complete: bool) -> None:
        if self._rows:
            self._write_shard()
        index = self.index.model_copy(update={"complete": complete})
        write_index(self.out, index)
        self.index = index

    def _write_shard(self) -> None:
        rows, number = self._rows, len(self.index.shards)
        none = torch.empty(0, *self.index.context_shape, dtype=torch.float16)
        tensors = {
            "latents": torch.stack([row.latents for row in rows]).contiguous(),  # not channels-last
            "text": torch.tensor([row.text for row in rows]),
            "contexts": torch.stack(self._contexts) if self._contexts else none,
        }
        words = {"captions": self._captions, "names": [row.name for row in rows]}
        content = save(tensors, {"words": json.dumps(words)})  # one entry: safetensors shuffles several
        path = self.out / f"{number:05d}.safetensors"
        try:
            write_bytes(path, content)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}; the {self.index.samples} samples before this shard are safe: make room "
                "and run the same again",
                str(path),
            ) from None
        shard = Shard(
            file=path.name,
            samples=len(rows),
            texts=len(self._captions),
            size=len(content),
            consumed=self._consumed,
        )
        self.index = self.index.model_copy(update={"shards": [*self.index.shards, shard]})
        self._rows, self._captions, self._contexts = [], [], []


def half(value: Tensor, what: str) -> Tensor:
    """float16 on the CPU. Raises DataError for numbers that are not finite there."""
    halved = value.detach().to("cpu", torch.float16)
    if not torch.isfinite(halved).all():
        raise DataError(
            f"got numbers in {what} that are not finite in float16; expected finite ones: look at the "
            "encoder, and run it in float32."
        )
    return halved


def shard_captions(path: Path, texts: int) -> list[str]:
    """The `texts` captions that this shard brings, in the order of its contexts.

    Raises DataError for a broken shard.
    """
    trouble = why_irregular(path)
    try:
        if not trouble:
            with safe_open(path, framework="pt") as opened:
                captions = json.loads(opened.metadata()["words"])["captions"]
            if len(captions) == texts and all(isinstance(caption, str) for caption in captions):
                return captions
            trouble = f"it has other captions than the {texts} that its index says"
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        trouble = f"{type(error).__name__} {error}"
    raise DataError(f"got a broken shard {path}: {trouble}; encode again into an empty folder.")


def check_same(out: Path, found: CacheIndex, wanted: CacheIndex) -> None:
    """Raises DataError where an unfinished cache was made from other models, data or settings."""
    for field in ("fingerprint", "meta", "context_shape"):
        got, expected = getattr(found, field), getattr(wanted, field)
        if got != expected:
            raise DataError(
                f"got a cache in {out} with {field} {got}; expected {expected}: resume with the same models, "
                "data and settings, or use an empty folder."
            )
