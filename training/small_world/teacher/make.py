"""The commands that make the small world's model from nothing, on a CPU.

    python -m training.small_world all --out runs/shapes

`all` runs every stage in order, each held to its gate (gates.py) before the next begins. A run that is cut
resumes; a stage that is complete is skipped. After `restart` they train the shipped weights further
instead. `data --out runs/shapes_data` encodes what the trainer's `shapes_*` configs read.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ..paths import DEMO
from ..world.datasets import make_caches, make_clean
from . import gates
from .export import export
from .restart import restart
from .stages import decoder, image, judge, latents, motion, vae

GUIDANCE = 3.0
Stage = Callable[..., None]
STAGES: dict[str, Stage] = {
    "judge": judge.train_judge,
    "vae": vae.train_vae,
    "latents": latents.make_latents,
    "decoder": decoder.train_decoder,
    "image": image.train_image,
    "motion": motion.train_motion,
    "export": lambda out, _: export(out, DEMO),
}
RECIPES = {name: stage.RECIPE for name, stage in (("decoder", decoder), ("image", image), ("motion", motion))}
GATES: dict[str, Callable[[Path], object]] = {
    "judge": gates.gate_judge,
    "decoder": gates.gate_vae,
    "image": lambda out: gates.gate_samples(out, "image", 180, GUIDANCE),
    "motion": lambda out: gates.gate_samples(out, "motion", 90, GUIDANCE),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--compile", action="store_true", help="bfloat16 and torch.compile: faster, needs a compiler"
    )
    parser.add_argument("--steps", type=int, help=f"steps in place of the recipe's; for {', '.join(RECIPES)}")
    parser.set_defaults(refuse=parser.error)


def main(options: argparse.Namespace) -> None:
    """Run the stage that `options.command` names, or all of them."""
    stage = options.command
    if options.steps and stage not in RECIPES:
        options.refuse(f"--steps: got stage {stage}; expected one of {', '.join(RECIPES)}")
    torch.set_num_threads(options.threads)
    if stage == "restart":
        restart(options.out, DEMO)
        return
    if stage == "data":
        make_caches(DEMO / "shapes_sd.safetensors", options.out)
        make_clean(DEMO / "shapes_sd.safetensors", options.out)
        return
    for name in STAGES if stage == "all" else [stage]:
        recipe = {"recipe": replace(RECIPES[name], steps=options.steps)} if options.steps else {}
        STAGES[name](options.out, options.compile, **recipe)
        if name in GATES:
            GATES[name](options.out)
