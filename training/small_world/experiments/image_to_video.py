"""Image to video on the small world: what is kept of the image, and whether it moves.

    python -m training.small_world image-to-video --lora LORA --motion T2V --image-motion I2V --vae VAE

Four steps, no guidance, 200 pictures that no training step saw, in colours between the palette's. Captions
leave the colour out: the picture alone says it. Writes docs/results/shapes/i2v.json, i2v.webp (speed
over motion scale) and i2v_clips.webp. Rows:

image_to_video    the trained encoder, and beside it what colour alignment makes of the errors of colour
text_to_video     the distilled model with the same captions and noise
untrained         the image-to-video model with an encoder that has learned nothing
removed           the image-to-video model without its encoder
..., named        the first two with captions that name the nearest colour of the palette
vae               the true clips, encoded and decoded: no model can do better
others            models of `--compare NAME=RUN`, whose encoders read latents, pixels or a masked first frame
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animatelcm_core.atomic import write_text
from animatelcm_core.color_align import align, official
from animatelcm_core.motion_module import MotionModel

from ... import checkpoint
from ...eval.intervals import wilson
from ...image_conditioning import build_encoder
from ...runs import parse_run
from ...stages.image_to_video import ENCODER, ImageToVideoConfig, ImageToVideoStage
from ..measure import i2v_metrics, pictures
from ..measure.i2v_metrics import Beginnings, ImageModel, Kept
from ..measure.results import about, shown
from ..paths import DEMO, JUDGE, RESULTS
from ..teacher import networks
from ..teacher.networks import reconstruct_clips
from ..world import judge
from ..world.clips import draw

SCALES = (0.0, 0.4, 0.8, 1.2)
STEPS, SCALE = 4, 0.8
SHOWN = 8


def row(name: str, found: Kept, **more: Any) -> dict[str, Any]:
    """One line of the table; shares with their 95 % intervals."""
    numbers: dict[str, Any] = {"row": name, **found.numbers(), **more}
    for share in ("body", "motion"):
        values = getattr(found, share)
        numbers[f"{share}_interval95"] = wilson(int(values.sum()), len(values))
    return numbers


def from_run(run: Path, lora: Path, vae: Path) -> ImageModel:
    """The model of an adaptation run, of any reading: its average weights, or its last ones."""
    config = parse_run(run / "config.yaml")
    assert isinstance(config, ImageToVideoConfig)
    assert config.base.motion is not None
    schedule = ImageToVideoStage.schedule
    model = i2v_metrics.load(config.base.checkpoint, lora, config.base.motion, schedule, vae)
    state = checkpoint.load(checkpoint.list_checkpoints(run)[-1])
    weights = state.average or state.online
    encoder = build_encoder(networks.MOTION.channels, config.image_encoder.reading, 0)
    encoder.load_state_dict({k.removeprefix(ENCODER): v for k, v in weights.items() if k.startswith(ENCODER)})
    model = replace(model, encoder=encoder.eval(), reading=config.image_encoder.reading)
    trained = {k: v for k, v in weights.items() if not k.startswith(ENCODER)}
    if not trained:
        return model
    motion = MotionModel(networks.MOTION)
    motion.load_state_dict(trained)
    return replace(model, motion=motion.eval())


def colour_errors(clips: Tensor, given: Beginnings, net: judge.BodyNet) -> dict[str, dict[str, float]]:
    """The errors of colour after alignment, by the defaults of both modes."""
    errors = {}
    for mode, change in {"float": align, "official": official}.items():
        numbers = i2v_metrics.kept(i2v_metrics.aligned(clips, given, change), given, net).numbers()
        errors[mode] = {name: numbers[name] for name in ("colour", "water", "picture")}
    return errors


def sheet(clips: Tensor, given: Beginnings, path: Path) -> None:
    """The picture, then every second frame, a clip a row."""
    rows = [torch.cat([p, *clip[::2]], dim=2) for p, clip in zip(given.pictures, clips, strict=True)]
    pictures.save_grid(torch.cat(rows[:SHOWN], dim=1), path)


def plot(curve: list[dict[str, Any]], path: Path) -> None:
    """Speed along the heading and right motions over motion scale."""
    figure, axes = pictures.canvas(2, (9, 3.5))
    for axis, name in zip(axes, ("along", "motion"), strict=True):
        axis.plot([point["motion_scale"] for point in curve], [point[name] for point in curve], marker="o")
        axis.set_xlabel("motion scale")
    axes[0].set_ylabel("pixels a frame along the heading, movers")
    axes[1].set_ylabel("share with the right motion, all")
    pictures.save_plot(figure, path)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, default=DEMO / "shapes_sd.safetensors")
    parser.add_argument("--lora", type=Path, required=True)
    parser.add_argument("--motion", type=Path, required=True, help="distilled text-to-video weights")
    parser.add_argument("--image-motion", type=Path, required=True, help="image-to-video weights")
    parser.add_argument("--vae", type=Path, default=DEMO / "shapes_vae.safetensors")
    parser.add_argument("--compare", nargs="*", default=[], metavar="NAME=RUN")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path, default=RESULTS)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    given, net = i2v_metrics.beginnings(options.clips), judge.load(JUDGE)
    named = replace(given, named=True)
    ours = i2v_metrics.load(options.checkpoint, options.lora, options.image_motion, vae=options.vae)
    plain = i2v_metrics.load(options.checkpoint, options.lora, options.motion, vae=options.vae)
    others = {
        "text_to_video": (plain, given),
        "untrained": (i2v_metrics.untrained(ours), given),
        "removed": (replace(ours, encoder=None), given),
        "image_to_video, named": (ours, named),
        "text_to_video, named": (plain, named),
        **{
            name: (from_run(Path(run), options.lora, options.vae), given)
            for name, _, run in (c.partition("=") for c in options.compare)
        },
    }
    curve, rows = [], []
    for scale in SCALES:
        clips = ours.sample(given, STEPS, scale)
        found = i2v_metrics.kept(clips, given, net)
        curve.append({"motion_scale": scale, **found.numbers()})
        print(curve[-1], flush=True)
        if scale == SCALE:
            rows.append(row("image_to_video", found, colour_aligned=colour_errors(clips, given, net)))
            options.to.mkdir(parents=True, exist_ok=True)
            sheet(clips, given, options.to / "i2v_clips.webp")
    for name, (model, beginnings) in others.items():
        found = i2v_metrics.kept(model.sample(beginnings, STEPS, SCALE), given, net)
        rows.append(row(name, found))
        print(rows[-1], flush=True)
    rows.append(row("vae", i2v_metrics.kept(reconstruct_clips(ours.base.vae, draw(given.clips)), given, net)))
    command = f"python -m training.small_world image-to-video --lora {shown(options.lora)} --motion "
    command += f"{shown(options.motion)} --image-motion {shown(options.image_motion)} "
    command += f"--vae {shown(options.vae)} --clips {options.clips}"
    if options.compare:
        named_runs = (c.partition("=") for c in options.compare)
        command += " --compare " + " ".join(f"{name}={shown(Path(run))}" for name, _, run in named_runs)
    content = {**about(command), "clips": options.clips, "steps": STEPS, "rows": rows, "motion_scale": curve}
    write_text(options.to / "i2v.json", json.dumps(content, indent=1) + "\n")
    plot(curve, options.to / "i2v.webp")
