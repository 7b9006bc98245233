"""A VAE for colours between the palette's, as SD1.5's fine-tuned ones: the same latents, a better decoder.

    python -m training.small_world fine-vae --out runs/shapes_vae --to demo/shapes_vae.safetensors

The VAE of the shipped checkpoint has seen the palette alone and shows every colour as the nearest of it. The
encoder stays as it is: what was trained on its latents needs no training again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from ... import single_file
from ...tensor_files import save_tensors
from ..paths import DEMO
from ..teacher import networks
from ..teacher.export import SIZES, restore_checkpoint
from ..teacher.loop import Recipe, train
from ..teacher.stages.vae import mixed_pictures, picture_loss
from ..world import domains

RECIPE = Recipe(steps=700, batch=24, lr=2e-3, ema=0.98, warmup=20, seed=11)


def train_fine_decoder(base: Path, out: Path, to: Path, recipe: Recipe = RECIPE) -> Path:
    """Train the decoder of the VAE in the checkpoint `base`; resumes from `out`. Writes a VAE file, fp16."""
    _, vae = restore_checkpoint(base)
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)  # type: ignore[union-attr]

    def loss_of(generator: torch.Generator) -> Tensor:
        half = recipe.batch // 2
        x = mixed_pictures(half, generator)
        x = torch.cat([x, domains.pictures("clean", half, generator, between=True)])
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            z = networks.encode(vae, x)
        z = z + 0.02 / networks.LATENT_SCALE * torch.randn(z.shape, generator=generator)
        return picture_loss(networks.decode(vae, z), x, emphasis=1)

    vae.load_state_dict(train("fine_vae", recipe, vae, loss_of, out), strict=False)
    return save_vae(vae, to)


def save_vae(vae: AutoencoderKL, to: Path) -> Path:
    """A VAE file in the usual names, without the prefix that they have in a checkpoint."""
    named = single_file.vae_tensors(vae.state_dict())
    tensors = {key.removeprefix(single_file.VAE): value.half().contiguous() for key, value in named.items()}
    metadata = {"animatelcm.shapes": json.dumps(SIZES), "modelspec.title": "AnimateLCM small world, fine VAE"}
    to.parent.mkdir(parents=True, exist_ok=True)
    return save_tensors(to, tensors, metadata)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, default=DEMO / "shapes_sd.safetensors")
    parser.add_argument("--out", type=Path, default=Path("runs/shapes_vae"))
    parser.add_argument("--to", type=Path, default=DEMO / "shapes_vae.safetensors")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--threads", type=int, default=2)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    recipe = replace(RECIPE, steps=options.steps)
    print("wrote", train_fine_decoder(options.base, options.out, options.to, recipe).name)
