"""Controlled video on the small world: do creatures go where the hints say, before and after adaptation?

    python -m training.small_world control --lora LORA --motion MOTION \\
        --pair t2i_adapter BEFORE AFTER --pair controlnet BEFORE AFTER

Four steps, no guidance, 200 clips whose hints no training step saw: edges of clips drawn anew, with their
captions. Writes docs/results/shapes/control.json, control.webp, control_clips.webp. Rows: vae (the clips of
the hints, encoded and decoded: no model can do better), text_to_video (the same captions and noise without
hints), and for each adapter `before` (as it was made for the image model) and `after` (with the LoRA merged).
`levels` tells where an adapter goes wrong: what one step makes of the true clips at each noise level.
The metrics: measure/control_metrics.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animatelcm_core.atomic import write_text
from animatelcm_core.formats import AdapterKind

from ...adapters import Control, load_adapter
from ...runs import parse_run
from ...stages.control import ControlConfig
from ..measure import pictures
from ..measure.control_metrics import AMOUNTS, ControlMetrics, HintSet
from ..measure.control_model import STEPS, ControlModel
from ..measure.results import about, command_line, path_in_repository
from ..paths import DEMO, JUDGE, RESULTS, ROOT
from ..teacher.networks import reconstruct_clips
from ..world import judge

CONFIG = ROOT / "training" / "configs" / "shapes_control.yaml"
SHOWN = 8  # clips on the sheet
LEVEL_CLIPS = 60


class ControlExperiment:
    """Measures one model under several adapters, all on the same hints, captions and noise."""

    def __init__(self, model: ControlModel, hint_set: HintSet, net: judge.BodyNet):
        self.model, self.hint_set, self.net = model, hint_set, net
        self.few = hint_set.first(LEVEL_CLIPS)
        self.latents = model.encode(self.few)
        self.rows: list[dict[str, Any]] = []
        self.changes: dict[str, dict[str, Any]] = {}
        self.levels: dict[str, list[dict[str, Any]]] = {}
        self.shown = [
            [clip, hints] for clip, hints in zip(hint_set.pixels[:SHOWN], hint_set.hints, strict=False)
        ]

    def add_row(self, name: str, clips: Tensor) -> ControlMetrics:
        metrics = ControlMetrics.measure(clips, self.hint_set, self.net)
        self.rows.append(metrics.row(name))
        print(self.rows[-1], flush=True)
        return metrics

    def show(self, clips: Tensor) -> None:
        for strips, clip in zip(self.shown, clips, strict=False):
            strips.append(clip)

    def measure_floors(self) -> None:
        """The rows to compare with: the clips of the hints through the VAE, and the model without hints."""
        self.add_row("vae", reconstruct_clips(self.model.base.vae, self.hint_set.pixels))
        free = self.model.sample(self.hint_set, None)
        self.add_row("text_to_video", free)
        self.show(free)

    def measure_pair(self, kind: AdapterKind, before: Path, after: Path) -> None:
        """Two states of one adapter, and what changed from the first to the second."""
        first = self.measure_adapter(kind, "before", before)
        self.changes[kind] = self.measure_adapter(kind, "after", after).change_from(first)

    def measure_adapter(self, kind: AdapterKind, when: str, path: Path) -> ControlMetrics:
        unet = self.model.base.unet
        control = Control(kind, load_adapter(path, kind, unet), unet)
        clips = self.model.sample(self.hint_set, control)
        self.show(clips)
        self.levels[f"{kind}_{when}"] = self.model.levels(self.few, self.latents, control)
        return self.add_row(f"{kind}_{when}", clips)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Every adapter before and after, with 95 % intervals; dashed: without hints, dotted: the VAE alone."""
    vae, free, *adapted = rows
    figure, axes = pictures.canvas(len(AMOUNTS), (13, 3.5))
    names = ["\n".join(row["row"].rsplit("_", 1)) for row in adapted]
    for axis, key in zip(axes, AMOUNTS, strict=True):
        for place, row in enumerate(adapted):
            (low, high), of = row[f"{key}_interval95"], row[key]
            look = {"color": f"C{place // 2}", "alpha": 0.5 + place % 2 / 2}
            axis.bar(place, of, yerr=[[of - low], [high - of]], capsize=4, **look)
        axis.axhline(free[key], color="gray", linestyle="dashed")
        axis.axhline(vae[key], color="gray", linestyle="dotted")
        axis.set_xticks(range(len(adapted)), names, fontsize=7)
        axis.set_title(key.replace("_", " of "))
    pictures.save_plot(figure, path)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, default=DEMO / "shapes_sd.safetensors")
    parser.add_argument("--lora", type=Path, required=True)
    parser.add_argument("--motion", type=Path, required=True, help="distilled text-to-video weights")
    parser.add_argument(
        "--pair", nargs=3, action="append", required=True, metavar=("KIND", "BEFORE", "AFTER")
    )
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path, default=RESULTS)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    config = parse_run(CONFIG, files=False)
    assert isinstance(config, ControlConfig)
    model = ControlModel.load(options.checkpoint, options.lora, options.motion)
    hint_set = HintSet.sample(options.clips, config.control.hint)
    experiment = ControlExperiment(model, hint_set, judge.load(JUDGE))
    experiment.measure_floors()
    pairs: list[tuple[AdapterKind, Path, Path]] = [
        (kind, Path(before), Path(after)) for kind, before, after in options.pair
    ]
    for kind, before, after in pairs:
        experiment.measure_pair(kind, before, after)
    content = {
        **about(command(options, pairs)),
        "clips": options.clips,
        "steps": STEPS,
        "rows": experiment.rows,
        "change": experiment.changes,
        "levels": experiment.levels,
    }
    options.to.mkdir(parents=True, exist_ok=True)
    write_text(options.to / "control.json", json.dumps(content, indent=1) + "\n")
    plot(experiment.rows, options.to / "control.webp")
    sheet = [clip[::2] for strips in experiment.shown for clip in strips]
    pictures.save_clips(sheet, options.to / "control_clips.webp")


def command(options: argparse.Namespace, pairs: list[tuple[AdapterKind, Path, Path]]) -> str:
    files = command_line("control", lora=options.lora, motion=options.motion)
    named = (" ".join([kind, *map(path_in_repository, paths)]) for kind, *paths in pairs)
    return " ".join([files, *(f"--pair {pair}" for pair in named), f"--clips {options.clips}"])
