"""Writes grids that show how training goes: a row per prompt, a column per number of steps, fixed noise."""

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
from .pipeline import Conditions, Pipeline, Sampling
from .stages.stage import Preview, Stage

FRAME_MILLISECONDS = 125
GUIDANCE = 5.0  # of a network that is not distilled


class SampleGrids:
    """`out/samples/step_00000500.gif` (a PNG for pictures), by the online weights. Main process only."""

    def __init__(self, config: RunConfig, stage: Stage, accelerator: Accelerator):
        self.config, self.stage, self.accelerator = config.samples, stage, accelerator
        self.folder = config.out / "samples"
        self.frames = config.samples.frames if stage.student().motion is not None else 1

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
        base, (height, width), pipeline = self.stage.base, self.config.size, self.pipeline()
        sampling = Sampling("lcm", steps)
        if not self.stage.distilled:
            sampling = Sampling("ddim", steps, GUIDANCE, "trailing")
        generator = torch.Generator().manual_seed(self.config.seed)
        noise = torch.randn(1, self.frames, 4, height // 8, width // 8, generator=generator).to(base.device)
        out = []
        for prompt, conditioning in prompts:
            fresh = torch.Generator().manual_seed(1)
            out.append(pipeline.sample(Conditions([prompt], conditioning), noise, sampling, fresh)[0].cpu())
        return torch.stack(out)

    def pipeline(self) -> Pipeline:
        """The stage's student as a pipeline; if it is not distilled, on the schedule it is trained on."""
        stage = self.stage

        def eps(x: Tensor, t: int, context: Tensor) -> Tensor:
            timesteps = torch.full((len(x),), t, device=x.device)
            return stage.eps(x, timesteps, context, stage.network, lambda: self.accelerator.autocast())

        return Pipeline(
            eps,
            SCHEDULES[stage.schedule] if stage.distilled else stage.solver.schedule,
            stage.base.encode_text,
            lambda latents: stage.base.decode(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]),
            lambda conditioning, frames: stage.network.acting(stage.student(), frames, conditioning),
        )


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
