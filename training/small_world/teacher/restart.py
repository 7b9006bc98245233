"""The shipped weights as stage files, so that any stage can be trained further instead of from nothing."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..paths import JUDGE
from ..world import judge
from . import stages
from .export import restore
from .loop import Recipe, optimizer_of, save_state, trainable


def restart(out: Path, demo: Path) -> None:
    """Write what the stages read from the files in `demo`.

    Judge and first VAE stage count as done; the second VAE stage, the image model and the motion module start
    from the shipped weights at step 0, with a new optimizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = restore(demo)
    net = judge.load(JUDGE)
    start(out / "judge.pt", net, judge.RECIPE, judge.RECIPE.steps)
    start(out / "vae_first.pt", model.vae, stages.VAE, stages.VAE.steps)
    start(out / "image.pt", model.image, stages.IMAGE, 0)
    start(out / "motion.pt", model.motion, stages.MOTION, 0)


def start(path: Path, model: nn.Module, recipe: Recipe, step: int) -> None:
    """A state of `loop.train` with `step` steps done. Refuses to overwrite: FileExistsError."""
    if path.exists():
        raise FileExistsError(f"got {path}; expected a folder without it. Name an empty folder with --out.")
    params = trainable(model.requires_grad_(True))
    save_state(path, step, params, params, optimizer_of(params, recipe))
