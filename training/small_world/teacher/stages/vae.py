"""Stage 2: the autoencoder, the pictures it is trained on and its loss."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from ...world import degraded, domains
from ...world.judge import COLOURFUL
from .. import networks
from ..loop import Recipe, load_ema, train

RECIPE = Recipe(steps=2800, batch=16, lr=2e-3, ema=0.995)
FINE = Recipe(steps=2000, batch=16, lr=1e-3, ema=0.99, seed=1)
MARKED = 0.3  # weight of the watermark by itself: its strokes are few pixels of many


def train_vae(out: Path, compile: bool = False) -> None:
    """Train the VAE on frames: first the creature's pixels count most, then all count the same.

    With equal weights from the start bodies stay grey for long; with unequal ones to the end the faint tint
    of the water never enters the latents (85 % of the squared error was there).
    """
    torch.manual_seed(RECIPE.seed)
    model = networks.vae().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first = _train_vae("vae_first", model, out, compile, RECIPE, emphasis=6)
    model.load_state_dict(first)
    _train_vae("vae", model, out, compile, FINE, emphasis=0)


def _train_vae(
    name: str, model: AutoencoderKL, out: Path, compile: bool, recipe: Recipe, emphasis: float
) -> dict[str, Tensor]:
    """Reconstruct, `emphasis` more on the creature.

    The posterior is a point: sampling it from the start drowned the signal in noise (21 dB after 1200 steps).
    A little noise of the latents' own scale keeps the decoder smooth instead.
    """

    def reconstruct(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean = networks.encode(model, x)
        scale = mean.detach().square().mean((0, 2, 3), keepdim=True).sqrt()
        return networks.decode(model, mean + 0.05 * scale * noise), mean

    run = torch.compile(reconstruct) if compile else reconstruct

    def loss_of(generator: torch.Generator) -> Tensor:
        x = mixed_pictures(recipe.batch, generator)
        noise = torch.randn(recipe.batch, 4, 8, 8, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            y, mean = run(x, noise)
        return mixed_loss(y, x, emphasis) + 1e-3 * mean.float().square().mean()

    return train(name, recipe, model, loss_of, out)


def mixed_pictures(n: int, generator: torch.Generator) -> Tensor:
    """(n, 3, 64, 64) in -1..1: a quarter degraded, a quarter ink, the rest clean, in that order."""
    counts = {"degraded": n // 4, "ink": n // 4, "clean": n - 2 * (n // 4)}
    x = torch.cat([domains.pictures(domain, count, generator) for domain, count in counts.items()])
    return x.contiguous(memory_format=torch.channels_last)


def mixed_loss(y: Tensor, x: Tensor, emphasis: float) -> Tensor:
    """`picture_loss` of mixed pictures, plus MARKED of the degraded ones' watermark by itself."""
    rows, columns = degraded.corner()
    marked = slice(0, len(x) // 4), slice(None), rows, columns
    return picture_loss(y, x, emphasis) + MARKED * picture_loss(y[marked], x[marked])


def picture_loss(y: Tensor, x: Tensor, emphasis: float = 0) -> Tensor:
    """Absolute and squared error of pictures in -1..1, `emphasis` more on the creature."""
    error = y.float() - x
    creature = x.amax(1, keepdim=True) - x.amin(1, keepdim=True) > 2 * COLOURFUL
    weight = 1 + emphasis * F.max_pool2d(creature.float(), 5, stride=1, padding=2)
    return (weight * (error.abs() + 2 * error.square())).mean()


def load_vae(out: Path) -> AutoencoderKL:
    """The VAE so far: trained, folded, its decoder sharpened, as far as the stages have come."""
    model = networks.vae()
    folded = out / "vae.safetensors"
    model.load_state_dict(load_file(folded) if folded.exists() else load_ema(out / "vae.pt"))
    if (out / "decoder.pt").exists():
        model.load_state_dict(load_ema(out / "decoder.pt"), strict=False)
    return model.eval().requires_grad_(False)
