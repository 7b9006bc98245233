"""The paper on the small world, from its shipped teacher to Table 1 and Figure 5, in one command.

    python -m training.small_world reproduce --out runs/reproduce

1 data      clean pictures and degraded videos, encoded
2 image     the LCM LoRA
3 ablation  three arms, three training seeds, at equal counted arithmetic, evaluated on the way
4 early     the same arms at a small budget, where they still differ, with equal steps; results in early/
5 personal  the image model in another style
6 table     every method at 1, 2, 4, 8 steps

Every part resumes where it was cut; one that is complete is skipped. Rows of the ablation are recorded in
docs/results/shapes, so that another machine makes the runs that are missing; it must start from the same
LoRA: `--lora demo/shapes_lcm_lora.safetensors` takes the shipped one instead of training it.

`--smoke` runs all of it at a tiny size in minutes, to see that the machinery works; its numbers mean nothing
and stay in `--out`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ... import checkpoint
from ...config import RunConfig
from ...runs import CONFIGS, export_weights, parse_run, train
from ..measure.cells import load_or_make
from ..measure.metrics import Space, real_clips
from ..measure.pipelines import ModelFiles, load_pipeline
from ..paths import DEMO, JUDGE, RESULTS
from ..world import judge
from ..world.datasets import make_caches
from . import figure5, style
from .processes import run_in_process

ARMS = ("paper", "without_init", "without_decouple")


@dataclass(frozen=True)
class ReproductionScale:
    """How much to make of everything. points: evaluations during each ablation run."""

    images: int = 6000
    videos: int = 2000
    image_steps: int = 800
    video_steps: int = 400
    points: int = 6
    early_steps: int = 48
    seeds: tuple[int, ...] = (0, 1, 2)
    clips: int = 90
    personal: int = 600
    real: int = figure5.REAL
    grids: bool = True
    table: tuple[str, ...] = ()


SMOKE = ReproductionScale(64, 8, 4, 4, 2, 2, (0,), 10, 2, 90, False, ("--smoke",))


class Reproduction:
    """Paths and parts of one reproduction in the folder `out`."""

    def __init__(self, out: Path, scale: ReproductionScale, to: Path, lora: Path | None = None):
        self.out, self.scale, self.to = out, scale, to
        self.cache, self.equal_cost = out / "data", True
        self.base = DEMO / "shapes_sd.safetensors"
        self.teacher = DEMO / "shapes_motion.safetensors"
        self.lora = lora or out / "image" / "export" / "shapes_image.safetensors"
        self.rows = to / figure5.FILE
        trained = out / "ablation" / "paper_0" / "export" / "shapes_video.safetensors"
        self.motion = DEMO / "shapes_lcm_motion.safetensors" if lora else trained
        self.personal = out / "personal" / "shapes_personal.safetensors"

    def data(self) -> None:
        make_caches(self.base, self.cache, self.scale.images, self.scale.videos)

    def image(self) -> None:
        if not self.lora.exists():
            train(self.config("shapes_image", "image", [f"steps={self.scale.image_steps}"]))

    def ablation(self) -> None:
        for seed in self.scale.seeds:
            for arm in ARMS:
                self.train_and_evaluate(arm, seed)
        self.run("figure5")

    def train_and_evaluate(self, arm: str, seed: int) -> None:
        """Train one arm with one seed, then evaluate its checkpoints."""
        steps = self.scale.video_steps
        if arm == "without_decouple" and self.equal_cost:
            steps = self.equal_steps()
        if steps in self.evaluated_steps(arm, seed):
            return
        each = max(1, steps // self.scale.points)
        changes = [f"arm={arm}", f"seed={seed}", f"steps={steps}", f"save_every={each}", "keep=1000"]
        if arm == "without_decouple":
            changes.append("base.lora=null")
        config = self.config("shapes_video", f"ablation/{arm}_{seed}", changes)
        if not (config.out / "export").exists():
            train(config)
        self.evaluate(arm, seed, config)

    def evaluated_steps(self, arm: str, seed: int) -> set[int]:
        """Steps of this run that have been evaluated."""
        try:
            rows = figure5.read_rows(self.rows, self.origin())
        except ValueError:
            return set()
        return {row.step for row in rows if (row.arm, row.seed) == (arm, seed)}

    def origin(self) -> str:
        return ModelFiles(self.base, self.teacher, self.lora).digest()

    def equal_steps(self) -> int:
        """Steps of `without_decouple` that cost what both stages of `paper` cost together."""
        video = self.scale.video_steps * self.tflop_per_step("shapes_video", "paper")
        return round((self.image_tflop() + video) / self.tflop_per_step("shapes_video", "without_decouple"))

    def image_tflop(self) -> float:
        return self.scale.image_steps * self.tflop_per_step("shapes_image", "")

    def tflop_per_step(self, name: str, arm: str) -> float:
        """TFLOP of one optimizer step, counted by running one."""
        folder = f"count/{name}_{arm}"
        if not checkpoint.list_checkpoints(self.out / folder):
            changes = ["steps=1", *([f"arm={arm}"] if arm else [])]
            if arm == "without_decouple":
                changes.append("base.lora=null")
            train(self.config(name, folder, changes))
        return checkpoint.load(checkpoint.list_checkpoints(self.out / folder)[-1]).counters["tflop_per_step"]

    def evaluate(self, arm: str, seed: int, config: RunConfig) -> None:
        """Append a row for every checkpoint of the run that has none yet."""
        done = self.evaluated_steps(arm, seed)
        net = judge.load(JUDGE)
        path, clips = self.out / "real.safetensors", self.scale.real
        real = load_or_make(path, lambda: real_clips(clips, figure5.REAL_SEED, net))
        before = 0.0 if arm == "without_decouple" else self.image_tflop()
        for folder in checkpoint.list_checkpoints(config.out):
            state = checkpoint.load(folder)
            if state.step in done:
                continue
            weights = state.average or state.online
            files = export_weights(config, weights, state, config.out / "evaluated")
            lora = next((p for p in files if p.stem.endswith("_lora")), self.lora)
            model = load_pipeline(ModelFiles(self.base, files[-1], lora))
            got = figure5.evaluate_checkpoint(model, net, Space(real.features), self.scale.clips)
            tflop = before + state.step * state.counters["tflop_per_step"]
            numbers = round(tflop, 4), got["frechet"], got["all_right"]
            row = figure5.Evaluation(arm, seed, state.step, *numbers, self.origin())
            figure5.record(self.rows, row)
            print(row, flush=True)

    def early(self) -> None:
        """Every arm for as few steps as it takes to tell them apart; not at equal arithmetic."""
        few = replace(self.scale, video_steps=self.scale.early_steps)
        part = Reproduction(self.out / "early", few, self.to / "early", self.lora)
        part.cache, part.equal_cost, part.motion = self.cache, False, self.motion
        part.to.mkdir(parents=True, exist_ok=True)
        part.ablation()

    def personal_style(self) -> None:
        if not self.personal.exists():
            recipe = replace(style.RECIPE, steps=self.scale.personal)
            style.train_personal(self.base, self.out / "personal", recipe)

    def table(self) -> None:
        best = self.motion
        self.run(
            "table1",
            *("--checkpoint", str(self.base), "--teacher", str(self.teacher), "--lora", str(self.lora)),
            *("--motion", str(best), "--personal", str(self.personal), "--out", str(self.out / "table")),
            *self.scale.table,
        )

    def config(self, name: str, folder: str, changes: list[str]) -> RunConfig:
        own = [f"base.checkpoint={self.base}", f"out={self.out / folder}"]
        if not self.scale.grids:
            own.append("samples.prompts=[]")
        if name == "shapes_image":
            own.append(f"data.path={self.cache / 'images'}")
        else:
            own += [f"base.motion={self.teacher}", f"base.lora={self.lora}"]
            own.append(f"data.path={self.cache / 'videos'}")
        return parse_run(CONFIGS / f"{name}.yaml", own + changes)

    def run(self, command: str, *arguments: str) -> None:
        """Run another command, which plots and writes results."""
        run_in_process(command, *arguments, "--to", str(self.to))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--to", type=Path, help="folder for the results (default docs/results/shapes)")
    parser.add_argument("--lora", type=Path, help="use this LCM LoRA instead of training one")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--threads", type=int, default=2)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    scale = SMOKE if options.smoke else ReproductionScale()
    lora = options.lora and options.lora.resolve()
    to = options.to or (options.out / "results" if options.smoke else RESULTS)
    r = Reproduction(options.out.resolve(), scale, to.resolve(), lora)
    for part in (r.data, r.image, r.ablation, r.early, r.personal_style, r.table):
        print(f"== {part.__name__}", flush=True)
        part()
