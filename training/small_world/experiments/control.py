"""Controlled video on the small world: do creatures go where the hints say, before and after adaptation?

    python -m training.small_world control --lora LORA --motion MOTION \\
        --pair t2i_adapter BEFORE AFTER --pair controlnet BEFORE AFTER

Four steps, no guidance, 200 clips whose hints no training step saw: edges of clips drawn anew, with their
captions. Writes docs/results/shapes/control.json, control.webp, control_clips.webp. Rows: vae (the clips of
the hints, encoded and decoded: no model can do better), text_to_video (the same captions and noise without
hints), and for each adapter `before` (as it was made for the image model) and `after` (with the LoRA merged).
`levels` tells where an adapter goes wrong: what one step makes of the true clips at each noise level.

overlap           of the creature with the hinted one, intersection over union, mean over frames
flicker_colour    change of the creature's mean RGB from frame to frame, mean absolute
flicker_outline   change of the creature's outline from frame to frame beyond that of the hinted one: share of
                  its area that comes or goes otherwise
flicker_water     change of the mean RGB of what neither creature covers from frame to frame, mean absolute;
                  the hinted clips have next to none, and an eye sees this flicker first
colour, body      shares that are right
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from animatelcm_core.atomic import write_text
from animatelcm_core.consistency import add_noise, x0_from_eps
from animatelcm_core.formats import AdapterKind, build_motion_model
from animatelcm_core.motion_module import MotionModel
from animatelcm_core.schedule import SCHEDULES

from ...adapters import Control, load_adapter
from ...base import Base, load_motion_file
from ...config import BaseConfig, HintConfig
from ...eval.intervals import bootstrap, centred_interval, wilson
from ...hints import edge_hints
from ...pipeline import Conditions, Pipeline, Sampling, load_merged
from ...randomness import sample_generator
from ...roles import Hints, Parts
from ...runs import parse_run
from ...stages.control import ControlConfig
from ..measure import pictures
from ..measure.results import about, shown
from ..paths import DEMO, JUDGE, RESULTS, ROOT
from ..teacher.networks import reconstruct_clips
from ..world import judge
from ..world.clips import FRAMES, SIZE, draw, labels_in_turn, sample_clips

CONFIG = ROOT / "training" / "configs" / "shapes_control.yaml"
SCHEDULE = SCHEDULES["text to video"]
STEPS, SEED, BATCH, SHOWN = 4, 50_000, 20, 8
LEVEL_CLIPS = 60
MEASURED = ("overlap", "flicker_colour", "flicker_outline", "flicker_water")


@dataclass
class Asked:
    """n clips that give the hints. pixels: (n, f, 3, 64, 64); hints: the same shape; labels: (n, 3)."""

    captions: list[str]
    pixels: Tensor
    hints: Tensor
    labels: Tensor

    def first(self, n: int) -> Asked:
        return Asked(self.captions[:n], self.pixels[:n], self.hints[:n], self.labels[:n])


def asked(n: int, hint: HintConfig, seed: int = SEED) -> Asked:
    """The 90 captions in turn, drawn with a seed that no training step has."""
    labels = labels_in_turn(n)
    clips = sample_clips(n, sample_generator(seed, 0), labels)
    pixels = draw(clips)
    hints = edge_hints(hint, pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    return Asked(clips.captions(), pixels, hints, labels)


@dataclass
class Model:
    """The distilled model of exported files."""

    base: Base
    motion: MotionModel

    @classmethod
    def load(cls, checkpoint: Path, lora: Path, motion: Path) -> Model:
        config = BaseConfig(variant="shapes", checkpoint=checkpoint, motion=motion, lora=lora)
        file = load_motion_file(motion, "shapes")
        return cls(load_merged(config), build_motion_model(file, nn, torch.float32))

    def pipeline(self, control: Control | None) -> Pipeline:
        return Pipeline.of(self.base, SCHEDULE, Parts(motion=self.motion, control=control))

    @torch.inference_mode()
    def sample(self, given: Asked, control: Control | None) -> Tensor:
        """Clips (n, f, 3, 64, 64) in 0..1. Equal numbers give equal noise, with hints or without."""
        parts, pipeline, sampling = [], self.pipeline(control), Sampling("lcm", STEPS)
        for start in range(0, len(given.captions), BATCH):
            captions = given.captions[start : start + BATCH]
            shape = (len(captions), FRAMES, 4, SIZE // 8, SIZE // 8)
            noise = torch.randn(shape, generator=sample_generator(SEED + 1, start))
            fresh, hints = sample_generator(SEED + 2, start), given.hints[start : start + BATCH]
            conditions = Conditions(captions, Hints(hints.flatten(0, 1)))
            parts.append(pipeline.sample(conditions, noise, sampling, fresh))
        return torch.cat(parts)

    @torch.inference_mode()
    def encoded(self, given: Asked) -> Tensor:
        """The clips of the hints in latents (n, f, 4, 8, 8)."""
        pixels = given.pixels
        return self.base.encode_pixels(pixels.flatten(0, 1) * 2 - 1).unflatten(0, pixels.shape[:2])

    @torch.inference_mode()
    def denoised(self, given: Asked, latents: Tensor, control: Control, t: int) -> Tensor:
        """What one step makes at t of the clips in latents (n, f, 4, 8, 8), with noise, under their hints."""
        parts, pipeline = [], self.pipeline(control)
        for start in range(0, len(given.captions), BATCH):
            part = slice(start, start + BATCH)
            x0 = latents[part]
            noise = torch.randn(x0.shape, generator=sample_generator(SEED + 3, start))
            alpha_bar = SCHEDULE.alpha_bar()[t].expand(len(x0))
            x = add_noise(x0, noise, alpha_bar)
            with pipeline.conditioned(Hints(given.hints[part].flatten(0, 1)), FRAMES):
                predicted = pipeline.eps(x, t, pipeline.encode_text(given.captions[part]))
            parts.append(x0_from_eps(x, predicted, alpha_bar))
        return torch.cat(parts)


@dataclass
class Followed:
    """Per clip, all (n,): what of the hints is followed, and what is right of the caption."""

    overlap: Tensor
    flicker_colour: Tensor
    flicker_outline: Tensor
    flicker_water: Tensor
    colour: Tensor
    body: Tensor

    def row(self, name: str) -> dict[str, Any]:
        """Means with their 95 % intervals."""
        out: dict[str, Any] = {"row": name}
        for key in MEASURED:
            values = getattr(self, key)
            out |= {key: round(float(values.mean()), 4), f"{key}_interval95": interval(values)}
        for key in ("colour", "body"):
            values = getattr(self, key)
            out |= {key: round(float(values.mean()), 4)}
            out[f"{key}_interval95"] = wilson(int(values.sum()), len(values))
        return out

    def change_from(self, before: Followed) -> dict[str, Any]:
        """Mean changes of the same clips, with the 95 % intervals of the paired differences."""
        out: dict[str, Any] = {}
        for key in MEASURED:
            change = getattr(self, key) - getattr(before, key)
            out |= {key: round(float(change.mean()), 4), f"{key}_interval95": interval(change)}
        return out


def interval(values: Tensor) -> list[float]:
    """95 % interval of the mean, over clips."""
    point = float(values.double().mean())
    draws = bootstrap(lambda i: float(values[i].double().mean()), len(values))
    return [round(end, 4) for end in centred_interval(draws, point)]


def overlap(mask: Tensor, hinted: Tensor) -> Tensor:
    """Intersection over union of soft masks (n, f, 64, 64), mean over frames, (n,)."""
    both, either = mask * hinted, torch.maximum(mask, hinted)
    return (both.sum((2, 3)) / either.sum((2, 3)).clamp_min(1)).mean(1)


def flicker(clips: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute change of the mean RGB from frame to frame, (n,). weight: (n, f, 64, 64)."""
    return judge.mean_rgb(clips, weight).diff(dim=1).abs().mean((1, 2))


@torch.inference_mode()
def followed(clips: Tensor, given: Asked, net: judge.BodyNet) -> Followed:
    """clips: (n, f, 3, 64, 64) in 0..1 that should go as `given` does."""
    mask, chroma = judge.colourfulness(clips)
    hinted = judge.colourfulness(given.pixels)[0]
    otherwise = (mask.diff(dim=1) - hinted.diff(dim=1)).abs().sum((2, 3)) / hinted[:, 1:].sum((2, 3))
    right = judge.read(clips, net).right(given.labels)
    return Followed(
        overlap=overlap(mask, hinted),
        flicker_colour=flicker(clips, mask * chroma),
        flicker_outline=otherwise.mean(1),
        flicker_water=flicker(clips, 1 - torch.maximum(mask, hinted)),
        colour=right["colour"].float(),
        body=right["shape"].float(),
    )


def levels(model: Model, given: Asked, latents: Tensor, control: Control) -> list[dict[str, Any]]:
    """What one step makes of noisy clips at each of the four noise levels, most noise first.

    latents: the clips of `given`, (n, f, 4, 8, 8).
    overlap as above; distance from the true latents, mean absolute; spread: standard deviation over theirs.
    """
    rows, hinted = [], judge.colourfulness(given.pixels)[0]
    for t in SCHEDULE.timesteps(STEPS).tolist():
        found = model.denoised(given, latents, control, t)
        clips = model.base.decode(found.flatten(0, 1)).unflatten(0, found.shape[:2])
        met = overlap(judge.colourfulness(clips)[0], hinted).mean()
        distance, spread = (found - latents).abs().mean(), found.std() / latents.std()
        named = {"overlap": met, "distance": distance, "spread": spread}
        rows.append({"t": t, **{key: round(float(value), 4) for key, value in named.items()}})
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Every adapter before and after, with 95 % intervals; dashed: without hints, dotted: the VAE alone."""
    vae, free, *led = rows
    figure, axes = pictures.canvas(len(MEASURED), (13, 3.5))
    names = ["\n".join(row["row"].rsplit("_", 1)) for row in led]
    for axis, key in zip(axes, MEASURED, strict=True):
        for place, row in enumerate(led):
            (low, high), of = row[f"{key}_interval95"], row[key]
            look = {"color": f"C{place // 2}", "alpha": 0.5 + place % 2 / 2}
            axis.bar(place, of, yerr=[[of - low], [high - of]], capsize=4, **look)
        axis.axhline(free[key], color="gray", linestyle="dashed")
        axis.axhline(vae[key], color="gray", linestyle="dotted")
        axis.set_xticks(range(len(led)), names, fontsize=7)
        axis.set_title(key.replace("_", " of "))
    pictures.save_plot(figure, path)


def sheet(rows: list[Tensor], path: Path) -> None:
    """rows: a clip (f, 3, 64, 64) each; every second frame."""
    pictures.save_grid(torch.cat([pictures.strip(clip[::2]) for clip in rows], dim=1), path)


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
    hint = config.control.hint
    given, net = asked(options.clips, hint), judge.load(JUDGE)
    model = Model.load(options.checkpoint, options.lora, options.motion)
    free = model.sample(given, None)
    rows = [followed(reconstruct_clips(model.base.vae, given.pixels), given, net).row("vae")]
    rows.append(followed(free, given, net).row("text_to_video"))
    strips = [[c] for c in given.pixels[:SHOWN]]
    for i, hints in enumerate(given.hints[:SHOWN]):
        strips[i] += [hints, free[i]]
    print(rows[-1], flush=True)
    changes, by_level, few = {}, {}, given.first(LEVEL_CLIPS)
    latents = model.encoded(few)
    for kind, before, after in options.pair:
        found = []
        for when, path in (("before", before), ("after", after)):
            network = load_adapter(Path(path), cast(AdapterKind, kind), model.base.unet)
            control = Control(cast(AdapterKind, kind), network, model.base.unet)
            clips = model.sample(given, control)
            found.append(followed(clips, given, net))
            rows.append(found[-1].row(f"{kind}_{when}"))
            by_level[f"{kind}_{when}"] = levels(model, few, latents, control)
            print(rows[-1], flush=True)
            for i, clip in enumerate(clips[:SHOWN]):
                strips[i].append(clip)
        changes[kind] = found[1].change_from(found[0])
    pairs = " ".join(f"--pair {kind} {shown(Path(b))} {shown(Path(a))}" for kind, b, a in options.pair)
    command = f"python -m training.small_world control --lora {shown(options.lora)} --motion "
    command += f"{shown(options.motion)} {pairs} --clips {options.clips}"
    content = {**about(command), "clips": options.clips, "steps": STEPS, "rows": rows, "change": changes}
    content["levels"] = by_level
    options.to.mkdir(parents=True, exist_ok=True)
    write_text(options.to / "control.json", json.dumps(content, indent=1) + "\n")
    plot(rows, options.to / "control.webp")
    sheet([clip for group in strips for clip in group], options.to / "control_clips.webp")
