"""Sizes of the frozen network: Stable Diffusion 1.5's, and those that packages of `training/` add.

Every package with a module `variant.py` that has a `VARIANT` is found and added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from animatelcm_core.config import MotionConfig

from .config_file import ConfigError

Tokenize = Callable[[list[str]], Tensor]
"""Captions -> tokens (b, 77)."""


class Evaluation(Protocol):
    """A variant's own metrics, which need no weights from outside."""

    @property
    def REAL(self) -> int:
        """Real clips of the reference, by default."""
        ...

    def all_captions(self) -> list[str]:
        """The captions of an evaluation that names none."""
        ...

    def labels_of(self, captions: Sequence[str]) -> Tensor:
        """The labels that each caption asks for. Raises ConfigError for a caption that cannot be measured."""
        ...

    def reference(self, cache: Path, clips: int) -> Any:
        """Measurements of real clips, made once and cached in the folder `cache`."""
        ...

    def measure_videos(
        self, clips: Sequence[Path], captions: Sequence[str], frames: int, space: Any
    ) -> dict[str, Any]:
        """Measures of the clips, by name. space: of `reference`."""
        ...

    def about(self, clips: int) -> dict[str, Any]:
        """How results were measured, for results.json. clips: number of real clips."""
        ...


@dataclass(frozen=True)
class Variant:
    """Networks of one size. motion: sizes of its motion weights; size: of its pictures, (h, w).

    The builders give random weights; `tokenizer` makes a tokenizer of the folder that the config names.
    metrics: imports the variant's own measures, None if it has none. words: all that its captions may have,
    None if they may have any.
    """

    name: str
    motion: MotionConfig
    size: tuple[int, int]
    build_unet: Callable[[], UNet2DConditionModel]
    build_vae: Callable[[], AutoencoderKL]
    build_text: Callable[[], CLIPTextModel]
    tokenizer: Callable[[Path | None], Tokenize]
    metrics: Callable[[], Evaluation] | None = None
    words: frozenset[str] | None = None


def known_variants() -> dict[str, Variant]:
    """Every variant by its name, Stable Diffusion 1.5 first."""
    here = Path(__file__).parent
    modules = [".sd15", *(f".{path.parent.name}.variant" for path in sorted(here.glob("*/variant.py")))]
    found: list[Variant] = [import_module(name, __package__).VARIANT for name in modules]
    return {variant.name: variant for variant in found}


def find_variant(name: str) -> Variant:
    """The variant of this name. Raises ConfigError."""
    known = known_variants()
    if name not in known:
        raise ConfigError(f"got variant {name}; expected {' or '.join(known)}")
    return known[name]
