"""Turns the shipped weights into stage files, so that any stage can be trained further."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..paths import JUDGE
from ..world.judge import load
from .export import restore
from .loop import Recipe, optimizer_of, save_state, trainable
from .stages import image, judge, motion, vae


def restart(out: Path, demo: Path) -> None:
    """Write what the stages read from the files in `demo`.

    Judge and first VAE stage count as done; the second VAE stage, the image model and the motion module start
    from the shipped weights at step 0, with a new optimizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = restore(demo)
    net, recipe = load(JUDGE), judge.RECIPE
    write_state(out / "judge.pt", net, recipe, recipe.steps)
    write_state(out / "vae_first.pt", model.vae, vae.RECIPE, vae.RECIPE.steps)
    write_state(out / "image.pt", model.image, image.RECIPE, 0)
    write_state(out / "motion.pt", model.motion, motion.RECIPE, 0)


def write_state(path: Path, model: nn.Module, recipe: Recipe, step: int) -> None:
    """A state of `loop.train` with `step` steps done. Refuses to overwrite: FileExistsError."""
    if path.exists():
        raise FileExistsError(f"got {path}; expected a folder without it. Name an empty folder with --out.")
    params = trainable(model.requires_grad_(True))
    save_state(path, step, params, params, optimizer_of(params, recipe))
