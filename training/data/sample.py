"""What a data set yields, and how samples become the batch that a stage trains on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..randomness import permutation
from .errors import DataError


@dataclass(frozen=True)
class Sample:
    """One clip or picture; f = 1 for a picture. Either `pixels`, or `latents` with `context`."""

    position: int
    caption: str
    pixels: Tensor | None = None  # (f, 3, h, w) uint8, RGB
    latents: Tensor | None = None  # (f, 4, h/8, w/8) float16, in model units (VAE latents times 0.18215)
    context: Tensor | None = None  # (77, c) float16, of the text model
    hints: Tensor | None = None  # like pixels, where the data has hints


@dataclass(frozen=True)
class Batch:
    """b samples, on the CPU, in float32."""

    positions: Tensor  # (b,) int64, global positions in the run's stream of samples
    captions: list[str]
    pixels: Tensor | None = None  # (b, f, 3, h, w), -1..1
    latents: Tensor | None = None  # (b, f, 4, h/8, w/8), in model units
    context: Tensor | None = None  # (b, 77, c)
    hints: Tensor | None = None  # (b, f, 3, h, w), 0..1


class Dataset(ABC):
    """Samples by index. It holds no random state: `load` draws from the generator that it is given."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples are listed, readable or not."""

    @abstractmethod
    def load(self, index: int, generator: torch.Generator) -> Sample:
        """The sample, its `position` set to `index`. Raises UnreadableMedia."""

    def name(self, index: int) -> str:
        """The sample's name in a report: a path below the data set's folder."""
        return f"sample {index}"

    def captions(self) -> Iterator[tuple[str, str]]:
        """Name and caption of the samples, where they can be told without reading the samples."""
        return iter(())

    def order(self, seed: int, epoch: int) -> Tensor:
        """(n,) int64: the indices in the order of this epoch; the same on every machine and process."""
        return permutation(len(self), seed, "epoch", epoch)

    def settings(self) -> str:
        """The settings that decide how a file becomes a sample, so that different encodes are not mixed."""
        return type(self).__name__


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of samples of one shape. Raises DataError where shapes or kinds differ."""
    pixels, hints = _stack("pixels", samples), _stack("hints", samples)
    return Batch(
        positions=torch.tensor([sample.position for sample in samples], dtype=torch.int64),
        captions=[sample.caption for sample in samples],
        pixels=None if pixels is None else to_float(pixels),
        latents=_floats("latents", samples),
        context=_floats("context", samples),
        hints=None if hints is None else hints.to(torch.float32).div_(255),
    )


def to_float(pixels: Tensor) -> Tensor:
    """uint8 0..255 -> float32 -1..1, any shape."""
    return pixels.to(torch.float32).div_(127.5).sub_(1)


def _floats(name: str, samples: Sequence[Sample]) -> Tensor | None:
    stacked = _stack(name, samples)
    return None if stacked is None else stacked.to(torch.float32)


def _stack(name: str, samples: Sequence[Sample]) -> Tensor | None:
    tensors = [value for sample in samples if (value := getattr(sample, name)) is not None]
    if not tensors:
        return None
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1 or len(tensors) != len(samples):
        raise DataError(
            f"got {name} of shapes {sorted(shapes)} in {len(tensors)} of {len(samples)} samples of a batch; "
            "expected one shape in all: a data set has one frame count and one size."
        )
    return torch.stack(tensors)
