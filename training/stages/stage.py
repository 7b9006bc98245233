"""One step of consistency learning, the same for pictures and clips, with and without a teacher.

Two neighbouring points of a trajectory are compared by the consistency function (paper Eq. 3, 7, 9).
Distillation takes the second from a guided teacher (distil.py), adaptation from the data itself (adapt.py).

What is random about a sample comes from a generator seeded by the run and the sample's position, so the
split into processes, accumulated batches and resumed runs changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from animatelcm_core.consistency import consistency_function, x0_from_eps
from animatelcm_core.solver import Solver, huber, level_weight

from ..base import Base
from ..config import RunConfig
from ..data.sample import Batch
from ..roles import Network, Reference, Role

Backward = Callable[[Tensor], None]
Autocast = Callable[[], AbstractContextManager[None]]
Preview = tuple[str, Reference | None]
"""A prompt, and the image it begins as where the stage is about images."""


@dataclass
class Draws:
    """Of a batch of clips: n (b,) solver index, w (b,) guidance, noise (b, f, 4, h, w)."""

    n: Tensor
    w: Tensor
    noise: Tensor


def draw(
    seed: int, positions: Tensor, shape: tuple[int, ...], steps: int, scales: tuple[float, float]
) -> Draws:
    """shape: of one clip's latents; scales: range of the cfg scale 1 + w."""
    rows = []
    for position in positions.tolist():
        generator = torch.Generator().manual_seed((seed * 1_000_003 + position) % 2**63)
        n = torch.randint(steps, (), generator=generator)
        w = scales[0] - 1 + (scales[1] - scales[0]) * torch.rand((), generator=generator)
        rows.append((n, w, torch.randn(shape, generator=generator)))
    n, w, noise = zip(*rows, strict=True)
    return Draws(torch.stack(n), torch.stack(w), torch.stack(noise))


class Stage(ABC):
    """Which roles there are, what is trained, what follows an update."""

    schedule = "text to video"
    """Name of the schedule that what is trained is sampled on."""
    network: Network
    online: nn.Module
    """`network`, or the wrapper that averages its gradients over processes."""

    def __init__(self, config: RunConfig, base: Base):
        self.config, self.base = config, base
        self.solver: Solver = config.solver.build()
        self.alpha_bar = self.solver.schedule.alpha_bar()
        self.null = base.encode_text([""])

    @abstractmethod
    def target(self) -> Role: ...

    @abstractmethod
    def student(self) -> Role: ...

    @abstractmethod
    def trainable(self) -> dict[str, nn.Parameter]: ...

    def rate_of(self, name: str) -> float:
        """Factor on the learning rate of the trainable parameter `name`."""
        return 1.0

    def reference(self, batch: Batch, latents: Tensor) -> Reference | None:
        """Images that condition the clips of a batch, for the roles that have an encoder."""
        return None

    def previews(self, prompts: Sequence[str]) -> list[Preview]:
        """What the sample grids show, for the prompts of the config."""
        return [(prompt, None) for prompt in prompts]

    @abstractmethod
    def pair(
        self, latents: Tensor, context: Tensor, draws: Draws, autocast: Autocast
    ) -> tuple[Tensor, Tensor]:
        """z_t and z_t' (b, f, 4, h, w): two neighbouring points of each clip's trajectory."""

    @abstractmethod
    def after_update(self) -> None:
        """Once per optimizer step: the target follows."""

    @abstractmethod
    def extra_state(self) -> dict[str, Tensor]:
        """What resuming needs beside the trainable parameters: the target's weights, rho."""

    @abstractmethod
    def load_extra(self, state: dict[str, Tensor]) -> None: ...

    def f(self, x: Tensor, t: Tensor, context: Tensor, model: nn.Module, autocast: Autocast) -> Tensor:
        """Consistency function (b, f, 4, h, w) float32 of the acting role; t: (b,), one for all frames."""
        eps = self.eps(x, t, context, model, autocast)
        return consistency_function(x, x0_from_eps(x, eps, self.alpha_bar.to(x.device)[t]), t)

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

    def step(self, batch: Batch, backward: Backward, autocast: Autocast) -> dict[str, Tensor]:
        """One forward and backward pass. Returns what is worth logging, per clip or scalar."""
        latents, context = self._encoded(batch)
        c, frames = self.config, latents.shape[1]
        draws = draw(c.seed, batch.positions, tuple(latents.shape[1:]), self.solver.steps, c.solver.guidance)
        n = draws.n.to(latents.device)
        t, t_next = self.solver.start(n), self.solver.end(n)
        with torch.no_grad():
            reference = self.reference(batch, latents)
            x, x_next = self.pair(latents, context, draws, autocast)
            with self.network.acting(self.target(), frames, reference):
                y = self.f(x_next, t_next, context, self.network, autocast)
        # Compared with the online network's answer one step earlier (Eq. 7).
        with self.network.acting(self.student(), frames, reference):
            out = self.f(x, t, context, self.online, autocast)
            distance = huber(out, y, c.loss.huber_c)
            loss = (level_weight(n, self.solver.steps, c.loss.delta, c.loss.gamma) * distance).mean()
            backward(loss)
        return {"loss": loss.detach(), "distance": distance.detach(), "n": n}

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
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
