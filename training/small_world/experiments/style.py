"""A personal style: a fine-tune of the image model on ink drawings (ink_style.py), as weights or as a LoRA.

    python -m training.small_world style train --out runs/personal
    python -m training.small_world style lora --personal FILE --to demo/shapes_inked_lora.safetensors
    python -m training.small_world style merge --lora demo/shapes_inked_lora.safetensors --to FILE

Only the UNet learns, on single frames, as personal checkpoints do; motion weights and LCM LoRA never see the
style. `train` writes `OUT/shapes_personal.safetensors`, laid out as demo/shapes_sd.safetensors; `lora` keeps
what it changed as a LoRA, a seventh of its size; `merge` makes a personal checkpoint of that again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.consistency import add_noise

from ... import single_file
from ...adapters import layers
from ...export import kohya_tensors, save_lora
from ...lora_file import merge_lora_file
from ...randomness import sample_generator
from ...tensor_files import save_tensors
from ..paths import DEMO
from ..teacher import networks
from ..teacher.export import restore_checkpoint, rewrite
from ..teacher.loop import Recipe, train
from ..teacher.stages.image import IMAGE_SCHEDULE, noise_loss, training_captions
from ..world import ink_style
from ..world.clips import FRAMES, sample_clips

RECIPE = Recipe(steps=600, batch=48, lr=3e-4, ema=0.99, warmup=30, seed=7)
STYLED = 4800  # styled frames, encoded once


@torch.inference_mode()
def styled_latents(vae: AutoencoderKL, frames: int, seed: int, batch: int = 48) -> tuple[Tensor, Tensor]:
    """Latents (frames, 4, 8, 8) in model units, one frame each of new clips; labels (frames, 3)."""
    latents, labels = [], []
    for start in range(0, frames, batch):
        generator = sample_generator(seed, start)
        clips = sample_clips(min(batch, frames - start), generator)
        frame = int(torch.randint(FRAMES, (), generator=generator))
        x = ink_style.draw(clips, [frame])[:, 0] * 2 - 1
        latents.append(networks.encode(vae, x) * networks.LATENT_SCALE)
        labels.append(clips.labels)
    return torch.cat(latents), torch.cat(labels)


def train_personal(base: Path, out: Path, recipe: Recipe = RECIPE, frames: int = STYLED) -> Path:
    """Train the UNet of the checkpoint `base` on styled frames; the path of the personal checkpoint.

    Resumes from `out`. SD1.5's own schedule and min-SNR weights, as the image model was trained.
    """
    image, vae = restore_checkpoint(base)
    latents, labels = load_or_make_latents(vae, out, frames, recipe.seed)
    alpha_bar = IMAGE_SCHEDULE.alpha_bar()
    unet = image.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    unet.train().requires_grad_(True)

    def loss_of(generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(latents), (recipe.batch,), generator=generator)
        noise = torch.randn(latents[pick].shape, generator=generator)
        t = torch.randint(1000, (recipe.batch,), generator=generator)
        with torch.no_grad():
            context = networks.encode_text(image.text, training_captions(labels[pick], generator))
        x = add_noise(latents[pick], noise, alpha_bar[t]).contiguous(memory_format=torch.channels_last)
        return noise_loss(unet(x, t, context, return_dict=False)[0], noise, alpha_bar[t])

    weights = train("personal", recipe, unet, loss_of, out)
    title = {"modelspec.title": "AnimateLCM small world, ink on paper"}
    return rewrite(base, single_file.unet_tensors(weights), out / "shapes_personal.safetensors", title)


def load_or_make_latents(vae: AutoencoderKL, out: Path, frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """`styled_latents`, made once and then read from `out`. Another VAE needs another `out`."""
    path = out / f"styled_{frames}.safetensors"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        latents, labels = styled_latents(vae, frames, seed)
        save_tensors(path, {"latents": latents.contiguous(), "labels": labels})
    data = load_file(path)
    return data["latents"], data["labels"]


@torch.inference_mode()
def change_as_lora(base: Path, personal: Path, rank: int) -> dict[str, Tensor]:
    """The best LoRA of this rank (by singular values) for what `personal` changes of the layers of `base`.

    Kohya's names; alpha is the rank. Layers of fewer outputs or inputs than `rank` are left out.
    """
    before, after = (restore_checkpoint(path)[0].unet for path in (base, personal))
    factors: dict[str, Tensor] = {}
    for name in layers(before):
        weight = before.get_parameter(f"{name}.weight")
        change = (after.get_parameter(f"{name}.weight") - weight).flatten(1)
        if min(change.shape) > rank:
            # Keep the largest singular values, half of each (its root) on either side.
            u, s, v = torch.linalg.svd(change, full_matrices=False)
            root = s[:rank].sqrt()
            factors[f"{name}.lora_A"] = (root[:, None] * v[:rank]).reshape(rank, *weight.shape[1:])
            factors[f"{name}.lora_B"] = (u[:, :rank] * root).reshape(-1, rank, *(1 for _ in weight.shape[2:]))
    return kohya_tensors(factors, rank)


def merge_style(base: Path, lora: Path, to: Path) -> Path:
    """Write a checkpoint like `base` with the LoRA in its weights."""
    unet = restore_checkpoint(base)[0].unet
    merge_lora_file(unet, lora)
    title = {"modelspec.title": "AnimateLCM small world, ink on paper"}
    return rewrite(base, single_file.unet_tensors(unet.state_dict()), to, title)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", type=Path, default=DEMO / "shapes_sd.safetensors")
    actions = parser.add_subparsers(dest="action", required=True)
    fit = actions.add_parser("train", help="fine-tune the image model")
    fit.add_argument("--out", type=Path, default=Path("runs/personal"))
    fit.add_argument("--steps", type=int, default=RECIPE.steps)
    fit.add_argument("--threads", type=int, default=2)
    small = actions.add_parser("lora", help="write what the fine-tune changed as a LoRA")
    small.add_argument("--personal", type=Path, required=True)
    small.add_argument("--rank", type=int, default=16)
    small.add_argument("--to", type=Path, required=True)
    whole = actions.add_parser("merge", help="merge the LoRA into a checkpoint")
    whole.add_argument("--lora", type=Path, required=True)
    whole.add_argument("--to", type=Path, required=True)


def main(options: argparse.Namespace) -> None:
    if options.action == "train":
        torch.set_num_threads(options.threads)
        path = train_personal(options.base, options.out, replace(RECIPE, steps=options.steps))
    elif options.action == "lora":
        change = change_as_lora(options.base, options.personal, options.rank)
        path = save_lora(options.to, change, {"modelspec.title": "AnimateLCM small world, ink on paper"})
    else:
        path = merge_style(options.base, options.lora, options.to)
    print("wrote", path.name)
