"""Stage 4: the decoder alone, sharpened."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .. import networks
from ..loop import Recipe, train
from .vae import load_vae, mixed_loss, mixed_pictures

RECIPE = Recipe(steps=1500, batch=16, lr=6e-4, ema=0.995, seed=2)


def train_decoder(out: Path, compile: bool = False, recipe: Recipe = RECIPE) -> None:
    """Sharpen the decoder alone. Latents stay what they are: the image model can train at the same time."""
    model = load_vae(out).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in (model.decoder, model.post_quant_conv):
        part.requires_grad_(True)  # type: ignore[union-attr]
    run = torch.compile(networks.decode) if compile else networks.decode

    def loss_of(generator: torch.Generator) -> Tensor:
        x = mixed_pictures(recipe.batch, generator)
        with torch.no_grad():
            z = networks.encode(model, x)
        z = z + 0.02 / networks.LATENT_SCALE * torch.randn(z.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            y = run(model, z)
        return mixed_loss(y, x, emphasis=1)

    train("decoder", recipe, model, loss_of, out)
