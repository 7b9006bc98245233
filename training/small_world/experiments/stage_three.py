"""Stage three on the small world, from the shipped distilled weights to its two result files, in one command.

    python -m training.small_world stage-three --out runs/stage_three

1 data       clean clips, in the palette's colours and between them; clean pictures
2 vae        a decoder for colours between the palette's
3 encoder    the image encoder, with the motion weights learning along; i2v.json
4 readings   three ways to read the image, for a quarter of the steps each; beside it in i2v.json
5 adapters   a T2I-Adapter, trained twice, and a ControlNet for the image model
6 control    a LoRA on each; control.json

Every part resumes where it was cut; one that is complete is skipped. `--only PART ...` runs some of them.
`--smoke` runs all of it at a tiny size in minutes; its numbers mean nothing and stay in `--out`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ... import checkpoint
from ...config import RunConfig
from ...runs import CONFIGS, parse_run, train
from ..paths import DEMO, RESULTS
from ..world.datasets import make_caches, make_clean
from . import fine_vae
from .processes import run_in_process

LORA, MOTION = DEMO / "shapes_lcm_lora.safetensors", DEMO / "shapes_lcm_motion.safetensors"
READINGS = ("latents", "pixels", "first_frame")
READING_STEPS = 500
# kind: the config and run of the finished adapter, and the config of its LoRA
ADAPTERS = {
    "t2i_adapter": ("t2i_adapter_more", "shapes_control"),
    "controlnet": ("controlnet", "shapes_controlnet_lora"),
}


@dataclass(frozen=True)
class StageThreeScale:
    """How much to make of everything; steps None: as many as the configs say."""

    images: int = 72000
    videos: int = 2000
    steps: int | None = None
    clips: int = 200
    grids: bool = True


SMOKE = StageThreeScale(128, 8, 2, 10, False)


class StageThree:
    """Paths and parts of one run in the folder `out`; results go to `to`."""

    def __init__(self, out: Path, scale: StageThreeScale, to: Path):
        self.out, self.scale, self.to = out, scale, to

    def data(self) -> None:
        base = DEMO / "shapes_sd.safetensors"
        make_clean(base, self.out / "data", self.scale.videos)
        make_caches(base, self.out / "data", self.scale.images, self.scale.videos)

    def vae(self) -> None:
        steps = self.scale.steps or fine_vae.RECIPE.steps
        recipe = replace(fine_vae.RECIPE, steps=steps)
        fine_vae.train_fine_decoder(DEMO / "shapes_sd.safetensors", self.out / "vae", self.vae_file, recipe)

    @property
    def vae_file(self) -> Path:
        return self.out / "vae" / "shapes_vae.safetensors"

    def encoder(self) -> None:
        self.train_run("shapes_i2v", "encoder", "mixed", [])
        self.measure_encoder([])

    def readings(self) -> None:
        for reading in READINGS:
            steps = self.scale.steps or READING_STEPS
            changes = [f"image_encoder.reading={reading}", f"steps={steps}"]
            self.train_run("shapes_i2v", f"encoder_{reading}", "mixed", changes)
        self.measure_encoder([f"{reading}={self.out / f'encoder_{reading}'}" for reading in READINGS])

    def measure_encoder(self, compare: list[str]) -> None:
        files = ["--lora", str(LORA), "--motion", str(MOTION), "--vae", str(self.vae_file)]
        files += ["--image-motion", str(self.export_path("encoder", "shapes_i2v"))]
        self.run("image-to-video", *files, *(["--compare", *compare] if compare else []))

    def adapters(self) -> None:
        for kind in ADAPTERS:
            self.train_run(f"shapes_{kind}", kind, "images", [])
        start = f"adapter.start={self.export_path('t2i_adapter', 'shapes_t2i_adapter')}"
        self.train_run("shapes_t2i_adapter_more", "t2i_adapter_more", "images", [start])

    def control(self) -> None:
        pairs: list[str] = []
        for kind, (run, name) in ADAPTERS.items():
            before = self.export_path(run, f"shapes_{run}")
            self.train_run(name, f"{kind}_lora", "clips", [f"control.adapter={before}"])
            after = self.export_path(f"{kind}_lora", name)
            pairs += ["--pair", kind, str(before), str(after)]
        self.run("control", "--lora", str(LORA), "--motion", str(MOTION), *pairs)

    def export_path(self, folder: str, name: str) -> Path:
        return self.out / folder / "export" / f"{name}.safetensors"

    def train_run(self, name: str, folder: str, data: str, changes: list[str]) -> None:
        """Train the run in `folder` to its end, unless it is there already."""
        config = self.config(name, folder, data, changes)
        newest = checkpoint.list_checkpoints(config.out)[-1:]
        if not newest or checkpoint.load(newest[0]).step < config.steps:
            train(config)

    def config(self, name: str, folder: str, data: str, changes: list[str]) -> RunConfig:
        own = [f"base.checkpoint={DEMO / 'shapes_sd.safetensors'}", f"out={self.out / folder}"]
        own.append(f"data.path={self.out / 'data' / data}")
        if data != "images":
            own += [f"base.motion={MOTION}", f"base.lora={LORA}"]
        if self.scale.steps is not None:
            own.append(f"steps={self.scale.steps}")
        if not self.scale.grids:
            own.append("samples.prompts=[]")
        return parse_run(CONFIGS / f"{name}.yaml", own + changes)

    def run(self, command: str, *arguments: str) -> None:
        """Run another command, which plots and writes results."""
        more = ["--clips", str(self.scale.clips), "--to", str(self.to)]
        run_in_process(command, *arguments, *more)


PARTS = ("data", "vae", "encoder", "readings", "adapters", "control")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs/stage_three"))
    parser.add_argument("--to", type=Path, help="folder for the results (default docs/results/shapes)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--threads", type=int, default=2)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    to = options.to or (options.out / "results" if options.smoke else RESULTS)
    three = StageThree(options.out.resolve(), SMOKE if options.smoke else StageThreeScale(), to.resolve())
    for part in PARTS:
        if part in options.only:
            print(f"== {part}", flush=True)
            getattr(three, part)()
