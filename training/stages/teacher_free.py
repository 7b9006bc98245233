"""Adaptation without a teacher (paper 4.3, Eq. 12).

Both points of the trajectory come from the data and one shared noise, so no teacher and no guidance is
needed: the network, distilled already, only has to learn what the new part means.
"""

from __future__ import annotations

from torch import Tensor

from animatelcm_core.solver import teacher_free_pair

from .consistency import Consistency
from .stage import Autocast, C, Draws

DISTILLED = {
    "motion": "distilled motion weights (AnimateLCM's, or yours from the stage video)",
    "lora": "the LCM LoRA (AnimateLCM's, or yours from the stage image)",
}
"""Files of `base` that such a stage needs: see RunConfig.needs."""


class TeacherFree(Consistency[C]):
    """A stage that teaches a new part on data alone."""

    def pair(
        self, latents: Tensor, context: Tensor, draws: Draws, autocast: Autocast
    ) -> tuple[Tensor, Tensor]:
        """z_t and z_t' of the data with one noise (Eq. 12)."""
        n, noise = draws.n.to(latents.device), draws.noise.to(latents)
        alpha_bar = self.alpha_bar.to(latents.device)
        return teacher_free_pair(
            latents, noise, alpha_bar[self.solver.start(n)], alpha_bar[self.solver.end(n)]
        )
