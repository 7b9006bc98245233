"""Samplers for the training side; they take a plain function that predicts noise.

lcm   multistep consistency sampling: the pack's own step (paper Sec. 3, lcm_step)
ddim  DDIM without noise (paper Eq. 8)
dpm   DPM-Solver++ of second order, multistep (diffusers' scheduler)

`Eps` takes clips x (n, f, 4, h, w), one timestep of all, context (n, 77, c) and gives eps like x.
Guidance is put around eps by `with_guidance`. Which timesteps: `spaced`.
Solver arithmetic is float32 (x_0 multiplies the error of eps by up to 42).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from animatelcm_core.consistency import lcm_step
from animatelcm_core.schedule import TRAIN_STEPS, Schedule
from animatelcm_core.solver import ddim_step, guided

Eps = Callable[[Tensor, int, Tensor], Tensor]
Spacing = Literal["simple", "leading", "trailing", "linspace"]


def with_guidance(eps: Eps, empty: Tensor, guidance: float) -> Eps:
    """`eps` with classifier-free guidance, both halves in one batch. empty: (1, 77, c), no caption.

    guidance: what artists call the cfg scale, the paper's 1 + w; at 1 the half without a caption is left out.
    """
    if guidance == 1:
        return eps

    def both(x: Tensor, t: int, context: Tensor) -> Tensor:
        contexts = torch.cat([context, empty.expand(len(x), -1, -1)])
        cond, uncond = eps(torch.cat([x, x]), t, contexts).float().chunk(2)
        return guided(cond, uncond, torch.tensor(guidance - 1))

    return both


def spaced(schedule: Schedule, steps: int, spacing: Spacing) -> list[int]:
    """`steps` timesteps, noisiest first, as common samplers choose them.

    simple    ComfyUI's scheduler of that name, and the only one for distilled schedules
    leading   diffusers' old default, steps_offset 1: one step starts, and ends, at 1 of 999
    trailing  999 down to one stride above nothing; `simple` where steps divide 1000
    linspace  999 down to 0
    Raises ValueError for more steps than timesteps, or another spacing than `simple` of a distilled schedule.
    """
    if spacing == "simple":
        return schedule.timesteps(steps).tolist()
    if schedule.original_steps != TRAIN_STEPS:
        raise ValueError(
            f"got {spacing} timesteps of a schedule that knows {schedule.original_steps}; expected `simple`. "
            "A distilled model is sampled at timesteps it was distilled on."
        )
    if not 1 <= steps <= TRAIN_STEPS:
        raise ValueError(f"got {steps} steps; expected 1 to {TRAIN_STEPS}")
    if spacing == "leading":
        stride = TRAIN_STEPS // steps
        return [i * stride + 1 for i in reversed(range(steps))]
    if spacing == "trailing":
        return [round(TRAIN_STEPS * (steps - i) / steps) - 1 for i in range(steps)]
    return [round((TRAIN_STEPS - 1) * (1 - i / max(1, steps - 1))) for i in range(steps)]


def require_undistilled(schedule: Schedule, spacing: Spacing) -> None:
    """Raises ValueError for timesteps that DPM-Solver++ cannot take."""
    if spacing == "simple" or schedule.original_steps != TRAIN_STEPS:
        raise ValueError(
            f"got {spacing} timesteps, {schedule.original_steps} of them known; expected an undistilled "
            "schedule and leading, trailing or linspace. Use ddim or lcm for the others."
        )


@torch.inference_mode()
def lcm(
    eps: Eps,
    noise: Tensor,
    context: Tensor,
    schedule: Schedule,
    steps: int,
    fresh: torch.Generator | Sequence[Tensor] | None = None,
) -> Tensor:
    """Clean clips from `noise` (n, f, 4, h, w) in `steps` evaluations.

    Between steps new noise is added: drawn from `fresh`, or the steps - 1 tensors in it.
    """
    alpha_bar, timesteps = schedule.alpha_bar(), schedule.timesteps(steps).tolist()
    x = noise
    for i, t in enumerate(timesteps):
        # The last step ends at the clean clip; every other one is noised up to the next timestep's level.
        level = added = None
        if i + 1 < len(timesteps):
            level = alpha_bar[timesteps[i + 1]]
            added = fresh[i] if isinstance(fresh, Sequence) else torch.randn(noise.shape, generator=fresh)
            added = added.to(x)
        x = lcm_step(x, eps(x, t, context).float(), torch.tensor(t), alpha_bar[t], level, added)
    return x


@torch.inference_mode()
def ddim(
    eps: Eps, noise: Tensor, context: Tensor, schedule: Schedule, steps: int, spacing: Spacing = "simple"
) -> Tensor:
    """Clean clips from `noise` (n, f, 4, h, w). Each step ends at the next one's timestep, the last at x_0.

    diffusers' DDIMScheduler ends at t - 1000 // steps instead: the same for `leading` and `trailing` where
    steps divide 1000, a mismatch of up to a stride for `linspace`.
    """
    alpha_bar, timesteps = schedule.alpha_bar(), spaced(schedule, steps, spacing)
    ends = [*(alpha_bar[t] for t in timesteps[1:]), torch.ones(())]  # alpha_bar = 1: no noise is left
    x = noise
    for t, end in zip(timesteps, ends, strict=True):
        x = ddim_step(x, eps(x, t, context).float(), alpha_bar[t], end)
    return x


@torch.inference_mode()
def dpm(
    eps: Eps, noise: Tensor, context: Tensor, schedule: Schedule, steps: int, spacing: Spacing = "trailing"
) -> Tensor:
    """Clean clips from `noise` (n, f, 4, h, w) by DPM-Solver++ 2M; the last step is of first order, to x_0.

    One step from the same timestep is DDIM's. `spacing` is diffusers' own for this solver, all but `simple`:
    its linspace has 999 down to one stride above nothing, its leading begins one stride under 999.
    """
    require_undistilled(schedule, spacing)
    scheduler = dpm_scheduler(schedule, spacing)
    scheduler.set_timesteps(steps)
    x: Any = noise
    for t in scheduler.timesteps:
        predicted = eps(x, int(t), context).float()
        x = scheduler.step(predicted, t, x, return_dict=False)[0]  # type: ignore[arg-type]
    return x


def dpm_scheduler(schedule: Schedule, spacing: Spacing) -> Any:
    """diffusers' DPM-Solver++ 2M on the betas of `schedule`."""
    alpha_bar = schedule.alpha_bar()
    betas = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return DPMSolverMultistepScheduler(
        trained_betas=betas.numpy(),
        timestep_spacing=spacing,  # type: ignore[arg-type]
        steps_offset=1,
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
