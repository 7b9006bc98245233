"""One step of consistency learning, the same for pictures and clips, with and without a teacher.

Two neighbouring points of a trajectory are compared by the consistency function (paper Eq. 3, 7, 9).
Distillation takes the second from a guided teacher (distil.py), adaptation from the data itself
(teacher_free.py).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from animatelcm_core.consistency import consistency_function, x0_from_eps
from animatelcm_core.solver import huber, level_weight

from ..data.sample import Batch
from ..roles import Role
from .stage import Autocast, Backward, C, Draws, Stage, draw


class Consistency(Stage[C]):
    """Online network and target agree on where a trajectory ends."""

    @abstractmethod
    def target(self) -> Role: ...

    @abstractmethod
    def pair(
        self, latents: Tensor, context: Tensor, draws: Draws, autocast: Autocast
    ) -> tuple[Tensor, Tensor]:
        """z_t and z_t' (b, f, 4, h, w): two neighbouring points of each clip's trajectory."""

    def f(self, x: Tensor, t: Tensor, context: Tensor, model: nn.Module, autocast: Autocast) -> Tensor:
        """Consistency function (b, f, 4, h, w) float32 of the acting role; t: (b,), one for all frames."""
        eps = self.eps(x, t, context, model, autocast)
        return consistency_function(x, x0_from_eps(x, eps, self.alpha_bar.to(x.device)[t]), t)

    def step(self, batch: Batch, backward: Backward, autocast: Autocast) -> dict[str, Tensor]:
        latents, context = self.encode_batch(batch)
        c, frames = self.config, latents.shape[1]
        draws = draw(c.seed, batch.positions, tuple(latents.shape[1:]), self.solver.steps, c.solver.guidance)
        n = draws.n.to(latents.device)
        t, t_next = self.solver.start(n), self.solver.end(n)
        with torch.no_grad():
            conditioning = self.conditioning(batch, latents)
            x, x_next = self.pair(latents, context, draws, autocast)
            with self.network.acting(self.target(), frames, conditioning):
                y = self.f(x_next, t_next, context, self.network, autocast)
        # Compared with the online network's answer one step earlier (Eq. 7).
        with self.network.acting(self.student(), frames, conditioning):
            out = self.f(x, t, context, self.online, autocast)
            distance = huber(out, y, c.loss.huber_c)
            loss = (level_weight(n, self.solver.steps, c.loss.delta, c.loss.gamma) * distance).mean()
            backward(loss)
        return {"loss": loss.detach(), "distance": distance.detach(), "n": n}
