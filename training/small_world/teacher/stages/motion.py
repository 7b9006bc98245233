"""Stage 6: the temporal modules, on clips."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.attach import attached
from animatelcm_core.consistency import add_noise
from animatelcm_core.motion_module import MotionModel, zero_init
from animatelcm_core.schedule import SCHEDULES

from ...world.clips import FRAMES
from .. import networks
from ..loop import Recipe, load_ema, train
from .image import load_image, noise_loss, noisy_timesteps, training_captions

RECIPE = Recipe(steps=3300, batch=6, lr=1e-3, ema=0.998)
MOTION_SCHEDULE = SCHEDULES["animatediff"]


def train_motion(out: Path, compile: bool = False, recipe: Recipe = RECIPE) -> None:
    """Train only the temporal modules, on the noise of whole clips, as AnimateDiff does."""
    torch.manual_seed(recipe.seed)
    data = load_file(out / "latents.safetensors")
    latents, labels = data["latents"], data["labels"]
    alpha_bar = MOTION_SCHEDULE.alpha_bar()
    image = load_image(out)
    image.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    motion = zero_init(MotionModel(networks.MOTION))

    run = torch.compile(image.unet) if compile else image.unet

    def loss_of(generator: torch.Generator) -> Tensor:
        n = recipe.batch
        clip = torch.randint(len(latents), (n,), generator=generator)
        x0 = latents[clip].float()
        noise = torch.randn(x0.shape, generator=generator)
        t = noisy_timesteps(n, generator)
        x = rearrange(add_noise(x0, noise, alpha_bar[t]), "b f c h w -> (b f) c h w")
        with torch.no_grad():
            context = networks.encode_text(image.text, training_captions(labels[clip], generator))
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            eps = run(
                x.contiguous(memory_format=torch.channels_last),
                t.repeat_interleave(FRAMES),
                context.repeat_interleave(FRAMES, dim=0),
                return_dict=False,
            )[0]
        return noise_loss(rearrange(eps, "(b f) c h w -> b f c h w", b=n), noise, alpha_bar[t])

    with attached(image.unet, motion.blocks(), FRAMES):
        train("motion", recipe, motion, loss_of, out)


def load_motion(out: Path) -> MotionModel:
    """The trained temporal modules: their moving average, in evaluation mode."""
    motion = MotionModel(networks.MOTION)
    motion.load_state_dict(load_ema(out / "motion.pt"))
    return motion.eval()
