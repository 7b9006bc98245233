"""Stage 5: UNet and text model, on single frames."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from animatelcm_core.consistency import add_noise
from animatelcm_core.schedule import Schedule
from animatelcm_core.solver import snr_weight

from ...world.clips import BODIES, COLOURS, FRAMES, MOTIONS, caption, without_colour
from .. import networks
from ..loop import Recipe, load_ema, train

RECIPE = Recipe(steps=4000, batch=64, lr=1e-3, ema=0.998)
IMAGE_SCHEDULE = Schedule(beta="scaled_linear", original_steps=1000)  # Stable Diffusion 1.5's own


class ImageModel(nn.Module):
    """UNet and text model, trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = networks.unet()
        self.text = networks.text_model()


def train_image(out: Path, compile: bool = False, recipe: Recipe = RECIPE) -> None:
    """Train UNet and text model on single frames, with Stable Diffusion's own noise schedule."""
    torch.manual_seed(recipe.seed)
    data = load_file(out / "latents.safetensors")
    latents, labels = data["latents"], data["labels"]
    alpha_bar = IMAGE_SCHEDULE.alpha_bar()
    model = ImageModel()
    model.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(model.unet) if compile else model.unet

    def loss_of(generator: torch.Generator) -> Tensor:
        n = recipe.batch
        clip = torch.randint(len(latents), (n,), generator=generator)
        frame = torch.randint(FRAMES, (n,), generator=generator)
        x0 = latents[clip, frame].float()
        noise = torch.randn(x0.shape, generator=generator)
        t = noisy_timesteps(n, generator)
        context = networks.encode_text(model.text, training_captions(labels[clip], generator))
        x = add_noise(x0, noise, alpha_bar[t]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            eps = run(x, t, context, return_dict=False)[0]
        return noise_loss(eps, noise, alpha_bar[t])

    train("image", recipe, model, loss_of, out)


def training_captions(
    labels: Tensor, generator: torch.Generator, empty: float = 0.1, brief: float = 0.1
) -> list[str]:
    """Captions of labels (n, 3); a share is empty (for guidance), a share leaves colour or motion out."""
    texts = []
    for (body, colour, motion), dice in zip(
        labels.tolist(), torch.rand(len(labels), generator=generator).tolist(), strict=True
    ):
        text = caption(BODIES[body], list(COLOURS)[colour], MOTIONS[motion])
        words = text.split()
        if dice < empty:
            text = ""
        elif dice < empty + brief / 2:
            text = without_colour(text)
        elif dice < empty + brief:
            text = " ".join(words[:3])
        texts.append(text)
    return texts


def noisy_timesteps(n: int, generator: torch.Generator) -> Tensor:
    """(n,) of 0..999, each the noisier of two draws: what a clip shows is decided at high noise.

    With even draws the heading was still unknown at t = 800 after 2350 steps (a wrong motion word cost 1 %
    more loss than the right one), and clips turned while they swam.
    """
    return torch.randint(1000, (2, n), generator=generator).amax(0)


def noise_loss(eps: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Squared error of the predicted noise, weighed as an error in x_0 that counts snr, held to 0.1 .. 5.

    With equal weights nearly all of the gradient comes from low noise, where only texture is left to learn
    (min-SNR cuts that off), and next to none from the highest, where a clip's path is decided: at t = 900 an
    error in x_0 counts 0.005, and creatures drifted anywhere while they looked ahead.
    """
    weight = snr_weight(alpha_bar, 0.1, 5, torch.float64)
    return (weight * (eps.float() - noise).square().flatten(1).mean(1)).mean()


def load_image(out: Path) -> ImageModel:
    """The trained UNet and text model: their moving average, in evaluation mode."""
    model = ImageModel()
    model.load_state_dict(load_ema(out / "image.pt"), strict=False)
    return model.eval().requires_grad_(False)
