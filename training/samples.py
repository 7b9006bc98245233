"""Grids that show how training goes: fixed prompts and noise, a row a prompt, a column a number of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from einops import rearrange
from PIL import Image
from torch import Tensor

from animatelcm_core.schedule import SCHEDULES

from .config import RunConfig
from .samplers import ddim, lcm
from .stages.stage import Preview, Stage

FRAME_MILLISECONDS = 125
GUIDANCE = 5.0  # of a network that is not distilled


class SampleGrids:
    """`out/samples/step_00000500.gif` (a PNG for pictures), by the online weights. Main process only."""

    def __init__(self, config: RunConfig, stage: Stage, accelerator: Accelerator):
        self.config, self.stage, self.accelerator = config.samples, stage, accelerator
        self.folder = config.out / "samples"
        self.frames = config.samples.frames if stage.student().motion is not None else 1
        self.schedule = SCHEDULES[stage.schedule]

    def write(self, step: int) -> None:
        prompts = self.stage.previews(self.config.prompts)
        if not (self.config.prompts and prompts and self.accelerator.is_main_process):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = [self.pictures(prompts, steps) for steps in self.config.steps]
        rows = [torch.cat([column[i] for column in columns], dim=3) for i in range(len(prompts))]
        save_frames(torch.cat(rows, dim=2), self.folder / f"step_{step:08d}.gif")

    @torch.inference_mode()
    def pictures(self, prompts: list[Preview], steps: int) -> Tensor:
        """(prompts, f, 3, h, w) in 0..1."""
        base, (height, width) = self.stage.base, self.config.size
        generator = torch.Generator().manual_seed(self.config.seed)
        noise = torch.randn(1, self.frames, 4, height // 8, width // 8, generator=generator).to(base.device)
        out = []
        for prompt, given in prompts:
            context = base.encode_text([prompt])
            with self.stage.network.acting(self.stage.student(), self.frames, given):
                latents = self._sampled(noise, context, steps)
            out.append(base.decode(latents[0]).cpu())
        return torch.stack(out)

    def _sampled(self, noise: Tensor, context: Tensor, steps: int) -> Tensor:
        if self.stage.distilled:
            return lcm(self._eps, noise, context, self.schedule, steps, torch.Generator().manual_seed(1))
        own, null = self.stage.solver.schedule, self.stage.null.to(context)
        return ddim(self._eps, noise, context, null, own, steps, GUIDANCE, "trailing")

    def _eps(self, x: Tensor, t: int, context: Tensor) -> Tensor:
        timesteps = torch.full((len(x),), t, device=x.device)
        return self.stage.eps(x, timesteps, context, self.stage.network, lambda: self.accelerator.autocast())


def save_frames(frames: Tensor, path: Path) -> Path:
    """(f, 3, h, w) in 0..1 as an endless GIF, or as PNG of the same name if there is one frame."""
    arrays = (rearrange(frames, "f c h w -> f h w c").clamp(0, 1) * 255).round().byte().numpy()
    images = [Image.fromarray(np.ascontiguousarray(array)) for array in arrays]
    if len(images) == 1:
        path = path.with_suffix(".png")
        images[0].save(path)
    else:
        images[0].save(path, save_all=True, append_images=images[1:], duration=FRAME_MILLISECONDS, loop=0)
    return path
