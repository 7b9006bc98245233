"""Sampling on the training side: DDIM with guidance, the same steps as ComfyUI's `ddim` with `simple`.

    python -m training.shapes.sample --noise N.safetensors --caption "a red fish sleeping" --out L.safetensors

samples one clip from the exported files in demo/ and the tensor `noise` (f, 4, 8, 8), and writes `latents`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from animatelcm_core.attach import attached
from animatelcm_core.consistency import x0_from_eps
from animatelcm_core.motion_module import TemporalModule
from animatelcm_core.schedule import SCHEDULES, Schedule

from .networks import encode_text


@torch.inference_mode()
def ddim(
    unet: UNet2DConditionModel,
    blocks: Mapping[str, TemporalModule] | None,
    noise: Tensor,
    context: Tensor,
    empty: Tensor,
    schedule: Schedule,
    steps: int,
    guidance: float,
) -> Tensor:
    """Clips (n, f, 4, h, w) from `noise` of that shape; context (n, 77, c) and empty (1, 77, c).

    guidance 1 leaves the unconditional half out. `blocks` None samples frames as separate pictures.
    """
    n, frames = noise.shape[:2]
    alpha_bar = schedule.alpha_bar()
    timesteps = schedule.timesteps(steps).tolist()
    halves = 1 if guidance == 1 else 2
    both = torch.cat([context, empty.expand(n, -1, -1)])[: halves * n].repeat_interleave(frames, dim=0)
    x = noise.flatten(0, 1)
    for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        with attached(unet, blocks, frames) if blocks else nullcontext():
            eps = unet(x.repeat(halves, 1, 1, 1), t, both, return_dict=False)[0]
        if halves == 2:
            cond, uncond = eps.chunk(2)
            eps = uncond + guidance * (cond - uncond)
        x = x0_from_eps(x, eps, alpha_bar[t])
        if following is not None:
            a = alpha_bar[following].float()
            x = a.sqrt() * x + (1 - a).sqrt() * eps
    return x.view_as(noise)


def main() -> None:
    parser = argparse.ArgumentParser(description="One clip from the exported files, by DDIM.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[2] / "demo")
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--caption", required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    from .export import restore  # it imports every stage, which sampling alone does without

    model = restore(options.folder)
    context, empty = encode_text(model.image.text, [options.caption, ""]).split(1)
    latents = ddim(
        model.image.unet,
        model.motion.blocks(),
        load_file(options.noise)["noise"][None],
        context,
        empty,
        SCHEDULES["animatediff"],
        options.steps,
        options.guidance,
    )
    save_file({"latents": latents[0]}, options.out)


if __name__ == "__main__":
    main()
