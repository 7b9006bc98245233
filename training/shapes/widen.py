"""Teach the small world's VAE pictures it has never seen, without moving the latents it has.

    python -m training.shapes.widen --base demo/shapes_sd.safetensors --out runs/wide

A VAE trained on clean pictures alone gives clean pictures back whatever it is shown: the blur and watermark
of worn videos and the ink of another style are gone after encoding (23 and 17 dB), and with them all that
training on such data could change. Here it learns all three kinds, while the latents of clean pictures are
held to what they were, so image model and motion weights stay valid. Writes `OUT/shapes_sd.safetensors`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .. import single_file
from . import networks, stages, style, world, worn
from .export import restore_checkpoint, rewrite
from .loop import Recipe, step_generator, train

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Recipe(steps=1500, batch=18, rate=1e-3, ema=0.99, warmup=50, seed=9)
HELD = 2.0  # weight of the squared drift of clean latents, in units of their variance
MARKED = 0.3  # weight of the watermark's corner by itself: its strokes are few pixels of many
KINDS: dict[str, Callable[[world.Clips, list[int]], Tensor]] = {
    "clean": world.draw,
    "worn": lambda clips, frames: worn.wear(world.draw(clips, frames)),
    "styled": style.draw,
}


def pictures(kind: str, n: int, generator: torch.Generator) -> Tensor:
    """(n, 3, 64, 64) in -1..1: single frames of n new clips, of one of KINDS."""
    clips = world.sample_clips(n, generator)
    frame = int(torch.randint(world.FRAMES, (), generator=generator))
    return KINDS[kind](clips, [frame])[:, 0] * 2 - 1


def widen(base: Path, out: Path, recipe: Recipe = RECIPE) -> Path:
    """Train the VAE of the checkpoint `base`; the path of the new checkpoint. Resumes from `out`.

    A batch has a third of each kind, clean first.
    """
    _, old = restore_checkpoint(base)
    _, vae = restore_checkpoint(base)
    for model in (old, vae):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    vae.requires_grad_(True)

    def loss_of(generator: torch.Generator) -> Tensor:
        each = recipe.batch // len(KINDS)
        x = torch.cat([pictures(kind, each, generator) for kind in KINDS])
        x = x.contiguous(memory_format=torch.channels_last)
        mean = networks.encode(vae, x)
        with torch.no_grad():
            held = networks.encode(old, x[:each])
        drift = networks.LATENT_SCALE * (mean[:each] - held)
        noise = torch.randn(mean.shape, generator=generator) * 0.02 / networks.LATENT_SCALE
        # A little pull towards zero keeps the new latents as large as the old.
        size = 1e-3 * (networks.LATENT_SCALE * mean).square().mean()
        y = networks.decode(vae, mean + noise)
        rows, columns = worn.corner()
        mark = stages.picture_loss(y[each : 2 * each, :, rows, columns], x[each : 2 * each, :, rows, columns])
        return stages.picture_loss(y, x, emphasis=1) + MARKED * mark + HELD * drift.square().mean() + size

    vae.load_state_dict(train("wide", recipe, vae, loss_of, out))
    return rewrite(base, single_file.vae_tensors(vae.state_dict()), out / "shapes_sd.safetensors")


@torch.inference_mode()
def quality(base: Path, checkpoint: Path, frames: int = 96, seed: int = 10_001) -> dict[str, float]:
    """Mean decibel of each kind through the VAE of `checkpoint`, and the drift of clean latents.

    drift: root mean square, in units of the latents' deviation.
    """
    (_, old), (_, vae) = restore_checkpoint(base), restore_checkpoint(checkpoint)
    numbers: dict[str, float] = {}
    for kind in KINDS:
        x = pictures(kind, frames, step_generator(seed, 0))
        z = networks.encode(vae, x)
        error = ((networks.decode(vae, z).clamp(-1, 1) - x) / 2).square().mean((1, 2, 3))
        numbers[f"{kind}_db"] = round(float((-10 * error.log10()).mean()), 2)
        numbers[f"{kind}_deviation"] = round(float(networks.LATENT_SCALE * z.std()), 3)
        if kind == "clean":
            moved = networks.LATENT_SCALE * (z - networks.encode(old, x))
            numbers["drift"] = round(float(moved.square().mean().sqrt()), 4)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.shapes.widen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", type=Path, default=ROOT / "demo" / "shapes_sd.safetensors")
    parser.add_argument("--out", type=Path, default=Path("runs/wide"))
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("before", quality(options.base, options.base))
    recipe = Recipe(**{**vars(RECIPE), "steps": options.steps})
    print("after", quality(options.base, widen(options.base, options.out, recipe)))


if __name__ == "__main__":
    main()
