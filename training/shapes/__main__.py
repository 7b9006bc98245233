"""`python -m training.shapes STAGE --out FOLDER`: make the small world's model from nothing, on two CPU cores."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from . import stages


STAGES = {
    "judge": stages.train_judge,
    "vae": stages.train_vae,
    "latents": stages.make_latents,
    "image": stages.train_image,
    "motion": stages.train_motion,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.shapes", description=__doc__)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--out", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    STAGES[options.stage](options.out, options.compile)


if __name__ == "__main__":
    main()
