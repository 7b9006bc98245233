"""`python -m training.shapes STAGE --out FOLDER`: make the small world's model from nothing, on a CPU.

`all` runs every stage in order, each held to its gate (gates.py) before the next begins. A run that is cut
goes on where it was; a stage that is complete is passed over.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from . import gates, stages
from .export import export

DEMO = Path(__file__).resolve().parents[2] / "demo"
GUIDANCE = 3.0
Stage = Callable[[Path, bool], None]
STAGES: dict[str, Stage] = {
    "judge": stages.train_judge,
    "vae": stages.train_vae,
    "latents": stages.make_latents,
    "decoder": stages.train_decoder,
    "image": stages.train_image,
    "motion": stages.train_motion,
    "export": lambda out, _: export(out, DEMO),
}
GATES: dict[str, Callable[[Path], object]] = {
    "judge": gates.gate_judge,
    "decoder": gates.gate_vae,
    "image": lambda out: gates.gate_samples(out, "image", 180, GUIDANCE),
    "motion": lambda out: gates.gate_samples(out, "motion", 90, GUIDANCE),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.shapes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=["all", *STAGES])
    parser.add_argument("--out", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--compile", action="store_true", help="bfloat16 and torch.compile: faster, needs a compiler"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in STAGES if options.stage == "all" else [options.stage]:
        STAGES[name](options.out, options.compile)
        if name in GATES:
            GATES[name](options.out)


if __name__ == "__main__":
    main()
