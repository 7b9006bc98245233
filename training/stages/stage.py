"""What every stage of training has: its config, the network and its roles, one step, its files.

Consistency learning is consistency.py, an adapter's plain denoising adapter.py. What is random about a sample
comes from a generator seeded by the run and the sample's position, so the split into processes, accumulated
batches and resumed runs changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from animatelcm_core.solver import Solver

from ..base import Base
from ..config import ConfigError, RunConfig
from ..data.sample import Batch
from ..randomness import sample_generator
from ..roles import Conditioning, Network, Role
from ..weights import Weights

C = TypeVar("C", bound=RunConfig)
Backward = Callable[[Tensor], None]
Autocast = Callable[[], AbstractContextManager[None]]
Preview = tuple[str, Conditioning | None]
"""A prompt, with its image or hints if the stage conditions on them."""


@dataclass
class Draws:
    """The random draws of a batch of clips: n (b,) solver index, w (b,) guidance, noise (b, f, 4, h, w)."""

    n: Tensor
    w: Tensor
    noise: Tensor


def draw(
    seed: int, positions: Tensor, shape: tuple[int, ...], steps: int, scales: tuple[float, float]
) -> Draws:
    """Draw what is random in a batch. shape: of one clip's latents; scales: range of the cfg scale 1 + w."""
    rows = []
    for position in positions.tolist():
        generator = sample_generator(seed, position)
        n = torch.randint(steps, (), generator=generator)
        w = scales[0] - 1 + (scales[1] - scales[0]) * torch.rand((), generator=generator)
        rows.append((n, w, torch.randn(shape, generator=generator)))
    n, w, noise = zip(*rows, strict=True)
    return Draws(torch.stack(n), torch.stack(w), torch.stack(noise))


@dataclass(frozen=True)
class Export:
    """Where trained weights go. path: the main file; about: metadata; diffusers: a MotionAdapter as well."""

    path: Path
    about: Mapping[str, str]
    diffusers: bool = False

    def beside(self, end: str) -> Path:
        """The path of another file of the same run."""
        return self.path.with_name(f"{self.path.stem}_{end}{self.path.suffix}")


class Stage(ABC, Generic[C]):
    """Base class: what learns, from what, what an update does, and which files it exports."""

    name: ClassVar[str]
    """Name of the command, and of `stage` in a config."""
    Config: ClassVar[type[RunConfig]]
    pictures: ClassVar[bool] = False
    """Whether it learns from single pictures: clips of one frame."""
    schedule = "text to video"
    """Name of the schedule that what is trained is sampled on."""
    distilled = True
    """Whether the network is sampled in few steps without guidance."""
    reads_prompts: ClassVar[bool] = True
    """Whether its sample grids show the config's prompts themselves."""
    network: Network
    online: nn.Module
    """`network`, or the wrapper that averages its gradients over processes."""

    def __init__(self, config: C, base: Base):
        self.config, self.base = config, base
        self.solver: Solver = config.solver.build()
        self.alpha_bar = self.solver.schedule.alpha_bar()
        self.null = base.encode_text([""])

    @classmethod
    @abstractmethod
    def build(cls, config: C, base: Base, weights: Weights) -> Stage[C]:
        """The stage of `config`. base: on its device; what it takes of `weights` is on the CPU."""

    @classmethod
    @abstractmethod
    def export(cls, config: C, weights: Mapping[str, Tensor], to: Export) -> list[Path]:
        """Write trained parameters, under their names in a checkpoint, as files that artists load."""

    @classmethod
    def can_export(cls, config: C) -> bool:
        """Whether the released layouts have a place for what the run trains."""
        return True

    @classmethod
    def sampled_files(cls, config: C, exported: Path) -> dict[str, Path | None]:
        """Files that clips of the trained model need in place of those of the config's base.

        exported: the main file that the run exported. Raises ConfigError where clips need more than captions.
        """
        raise ConfigError(
            f"got {config.name} of stage {cls.name}; expected image or video: what this one trains is shown "
            "with an image or hints. Look at its samples, or load its export in ComfyUI."
        )

    @classmethod
    def settings(cls, config: C) -> dict[str, Any]:
        """What sets measurements of speed of this stage apart from each other."""
        return {}

    @abstractmethod
    def student(self) -> Role: ...

    @abstractmethod
    def trainable(self) -> dict[str, nn.Parameter]: ...

    @abstractmethod
    def step(self, batch: Batch, backward: Backward, autocast: Autocast) -> dict[str, Tensor]:
        """One forward and backward pass. Returns values for the log, per clip or scalar."""

    def lr_factor(self, name: str) -> float:
        """Factor on the learning rate of the trainable parameter `name`."""
        return 1.0

    def conditioning(self, batch: Batch, latents: Tensor) -> Conditioning | None:
        """Images or hints of the clips of a batch, for the roles that look at them."""
        return None

    def previews(self, prompts: Sequence[str]) -> list[Preview]:
        """What the sample grids show, for the prompts of the config."""
        return [(prompt, None) for prompt in prompts]

    def after_update(self) -> None:  # noqa: B027
        """Once per optimizer step: the target, if there is one, follows."""

    def extra_state(self) -> dict[str, Tensor]:
        """What resuming needs beside the trainable parameters: the target's weights, rho."""
        return {}

    def load_extra(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Load what `extra_state` saved."""

    def metrics(self) -> dict[str, float]:
        """Numbers for the log that belong to this stage alone."""
        return {}

    def eps(self, x: Tensor, t: Tensor, context: Tensor, model: nn.Module, autocast: Autocast) -> Tensor:
        """Predicted noise like x (b, f, 4, h, w), float32; context (b, 77, c)."""
        b, f = x.shape[:2]
        flat = rearrange(x, "b f c h w -> (b f) c h w").contiguous(memory_format=torch.channels_last)
        dtype = self.base.unet.dtype
        with autocast():
            out = model(
                flat.to(dtype),
                repeat(t, "b -> (b f)", f=f),
                repeat(context, "b l c -> (b f) l c", f=f).to(dtype),
            )
        return rearrange(out.float(), "(b f) c h w -> b f c h w", b=b)

    def encode_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Latents (b, f, 4, h, w) float32 in model units and context (b, 77, c), on the base's device."""
        device = self.base.device
        if batch.latents is not None:
            latents = batch.latents.to(device).float()
        else:
            assert batch.pixels is not None
            flat = rearrange(batch.pixels, "b f c h w -> (b f) c h w")
            latents = self.base.encode_pixels(flat).unflatten(0, batch.pixels.shape[:2])
        if batch.context is not None:
            return latents, batch.context.to(device).float()
        return latents, self.base.encode_text(batch.captions)
