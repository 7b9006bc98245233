"""Distillation: a guided teacher's solver step makes the pair that is compared (paper Eq. 8)."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from animatelcm_core.consistency import add_noise
from animatelcm_core.solver import ddim_step, guided

from ..roles import Role
from .consistency import Consistency
from .stage import Autocast, C, Draws


class Distillation(Consistency[C]):
    """A stage with a teacher: the guided one's step leads from z_t to z_t'."""

    @abstractmethod
    def teacher(self) -> Role: ...

    def pair(
        self, latents: Tensor, context: Tensor, draws: Draws, autocast: Autocast
    ) -> tuple[Tensor, Tensor]:
        """A point on the trajectory, one t for all frames of a clip, and the teacher's DDIM step (Eq. 8)."""
        device = latents.device
        n, w, alpha_bar = draws.n.to(device), draws.w.to(device), self.alpha_bar.to(device)
        t, t_next = self.solver.start(n), self.solver.end(n)
        x = add_noise(latents, draws.noise.to(device), alpha_bar[t])
        with self.network.acting(self.teacher(), latents.shape[1]):
            both = torch.cat([context, self.null.to(device).expand_as(context)])
            cond, uncond = self.eps(torch.cat([x, x]), torch.cat([t, t]), both, self.network, autocast).chunk(
                2
            )
        return x, ddim_step(x, guided(cond, uncond, w), alpha_bar[t], alpha_bar[t_next])
