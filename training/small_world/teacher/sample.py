"""One clip on the training side, the same steps as ComfyUI's `ddim` with `simple`.

    python -m training.small_world sample --noise NOISE --caption "a red fish sleeping" --out LATENTS

samples one clip from the exported files in demo/ and the tensor `noise` (f, 4, 8, 8), and writes `latents`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file

from animatelcm_core.schedule import SCHEDULES

from ...base import Base
from ...pipeline import Conditions, Pipeline, Sampling
from ...roles import Parts
from ...tensor_files import save_tensors
from ..paths import DEMO
from ..world.words import tokenize


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=DEMO)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--caption", required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--out", type=Path, required=True)


def main(options: argparse.Namespace) -> None:
    from .export import restore  # it imports every stage, which sampling alone does without

    model = restore(options.folder)
    base = Base("shapes", model.image.unet, model.vae, model.image.text, tokenize)
    latents = Pipeline.of(base, SCHEDULES["animatediff"], Parts(motion=model.motion)).denoise(
        Conditions([options.caption]),
        load_file(options.noise)["noise"][None],
        Sampling("ddim", options.steps, options.guidance),
    )
    save_tensors(options.out, {"latents": latents[0]})
