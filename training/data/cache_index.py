"""The index of a cache of latents: what made it, and what each shard holds."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from animatelcm_core.atomic import write_text

from .errors import DataError
from .regular import why_irregular

INDEX = "index.json"
MAX_BYTES = 2**28
Count = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=2**20)]
HALF = 2  # bytes of a number in a shard, at least


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CacheMeta(_Model):
    """What was encoded: the frames and pixels of one sample, and its source."""

    frames: Side
    height: Side  # of the pixels
    width: Side
    source: str = ""  # digest of the data set and its settings
    note: str = ""


class Shard(_Model):
    """One safetensors file."""

    file: str = Field(pattern=r"^\d{5}\.safetensors$")
    samples: Count
    texts: Count  # captions that no shard before it has
    size: Count  # bytes of the file
    consumed: Count  # samples of the source up to its end, skipped ones included


class CacheIndex(_Model):
    """index.json. The first text of the first shard is the empty caption: the null context."""

    format: Literal["animatelcm-cache-1"] = "animatelcm-cache-1"
    fingerprint: str  # of the VAE and the text model
    meta: CacheMeta
    latent_shape: tuple[Side, Side, Side, Side] | None = None  # f, channels, height, width
    context_shape: tuple[Side, Side]  # tokens, channels
    shards: list[Shard] = Field(default_factory=list)
    complete: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_any_release(cls, values: Any) -> Any:
        """Earlier indexes name labels of the samples, which nothing reads."""
        return {k: v for k, v in values.items() if k != "labels"} if isinstance(values, dict) else values

    @property
    def samples(self) -> int:
        """How many samples the shards hold."""
        return sum(shard.samples for shard in self.shards)

    @property
    def consumed(self) -> int:
        """Samples of the source that need not be looked at again."""
        return self.shards[-1].consumed if self.shards else 0


def read_index(folder: Path) -> CacheIndex:
    """The index of `folder`, its shards' sizes checked. Raises DataError."""
    path = folder / INDEX
    trouble = why_irregular(path)
    if trouble:
        raise DataError(f"got {path}: {trouble}; expected a folder that encode wrote.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"got {path} of more than {MAX_BYTES} bytes; expected what encode wrote.")
        index = CacheIndex.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"got {error.strerror} for {path}; expected a folder that encode wrote.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        raise DataError(
            f"got {path} that is not an index: {place} {first['msg']}; expected what encode wrote: encode "
            "again."
        ) from None
    for shard in index.shards:
        file = folder / shard.file
        size = file.stat().st_size if file.is_file() else None
        if size != shard.size:
            got = "no file" if size is None else f"{size} bytes"
            raise DataError(
                f"got {got} at {file}, expected {shard.size} bytes: it was removed, cut off or replaced; "
                "copy it anew, or encode again into an empty folder."
            )
        _check_counts(path, index, shard)
    return index


def _check_counts(path: Path, index: CacheIndex, shard: Shard) -> None:
    """Compare what a shard is said to hold with its size: memory is taken by these numbers."""
    latents = prod(index.latent_shape) if index.latent_shape else 0
    least = HALF * (shard.samples * latents + shard.texts * prod(index.context_shape))
    if least > shard.size or (shard.samples and not latents):
        raise DataError(
            f"got {path} with {shard.samples} samples and {shard.texts} texts in {shard.file} of "
            f"{shard.size} bytes; expected numbers that fit: encode again."
        )


def write_index(folder: Path, index: CacheIndex) -> None:
    """Replace index.json. Raises OSError; the old one stays then."""
    write_text(folder / INDEX, index.model_dump_json(indent=1))
