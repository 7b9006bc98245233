"""A schedule as the host's `model_sampling` object, exact at the timesteps a model was distilled on.

ComfyUI counts noise as sigma = sqrt((1 - alpha_bar) / alpha_bar) with the clean latent unscaled. Its `simple`
scheduler takes entries -(1 + floor(i len / N)) of the sigma table: on a table of the known timesteps only
these are the authors' N timesteps, so a stock KSampler set to `lcm` and `simple` is exact.
"""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor

from ...consistency import boundary_scalings, expand
from ...schedule import TRAIN_STEPS, Schedule

_TABLES = ("sigmas", "log_sigmas")


class ScheduleSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    """`schedule` in the host's terms: sigma table, sigma <-> timestep, network output -> denoised latent.

    A distilled schedule applies the consistency function f = c_skip x + c_out x0 (paper Eq. 3); an
    undistilled one (1000 timesteps) is plain noise prediction.

    The tables are plain attributes. The host backs buffers up by their path (`model_sampling.sigmas`) and
    writes them back into whatever object has that path by then, which would put one schedule's table into
    another.
    """

    sigmas: Tensor
    log_sigmas: Tensor

    def __init__(self, schedule: Schedule):
        torch.nn.Module.__init__(self)
        self.schedule = schedule
        self.sigma_data = 1.0
        self.num_timesteps = TRAIN_STEPS
        self.linear_start = schedule.beta_start
        self.linear_end = schedule.beta_end
        self.zsnr = False
        self.set_sigmas(schedule.sigmas())
        c_skip, c_out = boundary_scalings(schedule.known_timesteps())
        self._c_skip = c_skip.float()
        self._c_out = c_out.float()

    @property
    def distilled(self) -> bool:
        """Whether the schedule is a latent consistency model's, for few steps with the LCM sampler."""
        return self.schedule.original_steps < TRAIN_STEPS

    def set_sigmas(self, sigmas: Tensor) -> None:
        """Keep `sigmas` (n,), increasing, in float32 as the host does."""
        object.__setattr__(self, "sigmas", sigmas.float())
        object.__setattr__(self, "log_sigmas", sigmas.log().float())

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """The host restores buffers through here; another object's table is not ours."""
        if name not in _TABLES:
            super().register_buffer(name, tensor, persistent=persistent)

    def _index(self, sigma: Tensor) -> Tensor:
        """Nearest table entry of each sigma, on the CPU."""
        distance = sigma.log().to(self.log_sigmas.device) - self.log_sigmas[:, None]
        return distance.abs().argmin(dim=0).view(sigma.shape)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Timestep (0 to 999) that the network gets for noise level sigma (b,)."""
        skip = self.schedule.skip
        return (self._index(sigma) * skip + skip - 1).to(sigma.device)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Noise level of a timestep; between known timesteps log sigma is interpolated."""
        skip = self.schedule.skip
        # Where the timestep stands in the table, whose entries are skip - 1, 2 skip - 1, ..., 999.
        t = (timestep.float().to(self.log_sigmas.device) - (skip - 1)) / skip
        t = t.clamp(0, len(self.sigmas) - 1)
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        log_sigma = (1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]
        return log_sigma.exp().to(timestep.device)

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """Denoised latent. sigma: (b,) or one value; model_output: eps; model_input: x0 + sigma eps."""
        sigma = sigma.view(()) if sigma.nelement() == 1 else sigma
        level = expand(sigma, model_output)
        x0 = model_input - model_output * level
        if not self.distilled:
            return x0
        index = self._index(sigma)
        c_skip, c_out = (expand(table[index], model_output) for table in (self._c_skip, self._c_out))
        # The consistency function acts on x with unit variance, which is model_input / sqrt(sigma^2 + 1).
        return c_out * x0 + c_skip * model_input / (level**2 + 1).sqrt()


def schedule_of(model: Any) -> Schedule | None:
    """The schedule of ours that MODEL samples on, or None."""
    sampling = model.get_model_object("model_sampling")
    return sampling.schedule if isinstance(sampling, ScheduleSampling) else None
