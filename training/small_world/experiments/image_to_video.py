"""Image to video on the small world: how well clips keep the image, and whether they move.

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
from ..measure import pictures
from ..measure.i2v_metrics import I2VMetrics, ReferenceSet, align_colours
from ..measure.i2v_model import ImageToVideoModel
from ..measure.results import about, command_line, path_in_repository
from ..paths import DEMO, JUDGE, RESULTS
from ..teacher import networks
from ..teacher.networks import reconstruct_clips
from ..world import judge
from ..world.clips import draw

SCALES = (0.0, 0.4, 0.8, 1.2)
STEPS, SCALE = 4, 0.8
SHOWN = 8  # clips on the sheet


def row(name: str, metrics: I2VMetrics, **more: Any) -> dict[str, Any]:
    """One line of the table; shares with their 95 % intervals."""
    numbers: dict[str, Any] = {"row": name, **metrics.numbers(), **more}
    for share in ("body", "motion"):
        values = getattr(metrics, share)
        numbers[f"{share}_interval95"] = wilson(int(values.sum()), len(values))
    return numbers


def load_run(run: Path, lora: Path, vae: Path) -> ImageToVideoModel:
    """The model of an encoder's run, of any reading: its averaged weights, else its last ones."""
    config = parse_run(run / "config.yaml", files=False)
    assert isinstance(config, ImageToVideoConfig)
    assert config.base.motion is not None
    schedule = ImageToVideoStage.schedule
    model = ImageToVideoModel.load(config.base.checkpoint, lora, config.base.motion, schedule, vae)
    state = checkpoint.load(checkpoint.list_checkpoints(run)[-1])
    weights = state.average or state.online
    encoder = build_encoder(networks.MOTION.channels, config.image_encoder.reading, 0)
    encoder.load_state_dict({k.removeprefix(ENCODER): v for k, v in weights.items() if k.startswith(ENCODER)})
    model = replace(model, encoder=encoder.eval(), reading=config.image_encoder.reading)
    learned = {k: v for k, v in weights.items() if not k.startswith(ENCODER)}
    if not learned:
        return model
    motion = MotionModel(networks.MOTION)
    motion.load_state_dict(learned)
    return replace(model, motion=motion.eval())


def colour_errors(
    clips: Tensor, reference_set: ReferenceSet, net: judge.BodyNet
) -> dict[str, dict[str, float]]:
    """The errors of colour after alignment, by the defaults of both modes."""
    errors = {}
    for mode, change in {"float": align, "official": official}.items():
        numbers = I2VMetrics.measure(
            align_colours(clips, reference_set, change), reference_set, net
        ).numbers()
        errors[mode] = {name: numbers[name] for name in ("colour", "water", "picture")}
    return errors


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
    options.to.mkdir(parents=True, exist_ok=True)
    reference_set, net = ReferenceSet.sample(options.clips), judge.load(JUDGE)
    ours = ImageToVideoModel.load(options.checkpoint, options.lora, options.image_motion, vae=options.vae)
    curve, rows = [], []
    for scale in SCALES:
        clips = ours.sample(reference_set, STEPS, scale)
        metrics = I2VMetrics.measure(clips, reference_set, net)
        curve.append({"motion_scale": scale, **metrics.numbers()})
        print(curve[-1], flush=True)
        if scale == SCALE:
            rows.append(
                row("image_to_video", metrics, colour_aligned=colour_errors(clips, reference_set, net))
            )
            shown = zip(reference_set.pictures[:SHOWN], clips, strict=False)
            sheet = [torch.cat([picture[None], clip[::2]]) for picture, clip in shown]
            pictures.save_clips(sheet, options.to / "i2v_clips.webp")
    for name, (model, references) in load_compared(options, ours, reference_set).items():
        rows.append(row(name, I2VMetrics.measure(model.sample(references, STEPS, SCALE), reference_set, net)))
        print(rows[-1], flush=True)
    encoded = reconstruct_clips(ours.base.vae, draw(reference_set.clips))
    rows.append(row("vae", I2VMetrics.measure(encoded, reference_set, net)))
    content = {**about(command(options)), "clips": options.clips, "steps": STEPS, "rows": rows}
    content["motion_scale"] = curve
    write_text(options.to / "i2v.json", json.dumps(content, indent=1) + "\n")
    plot(curve, options.to / "i2v.webp")


def load_compared(
    options: argparse.Namespace, ours: ImageToVideoModel, reference_set: ReferenceSet
) -> dict[str, tuple[ImageToVideoModel, ReferenceSet]]:
    """Models of the other rows, each with its references."""
    plain = ImageToVideoModel.load(options.checkpoint, options.lora, options.motion, vae=options.vae)
    named = replace(reference_set, named=True)
    return {
        "text_to_video": (plain, reference_set),
        "untrained": (ours.untrained(), reference_set),
        "removed": (replace(ours, encoder=None), reference_set),
        "image_to_video, named": (ours, named),
        "text_to_video, named": (plain, named),
        **{
            name: (load_run(run, options.lora, options.vae), reference_set)
            for name, run in runs(options).items()
        },
    }


def runs(options: argparse.Namespace) -> dict[str, Path]:
    """The runs of `--compare` by name."""
    return {name: Path(run) for name, _, run in (text.partition("=") for text in options.compare)}


def command(options: argparse.Namespace) -> str:
    files = {name: getattr(options, name) for name in ("lora", "motion", "image_motion", "vae", "clips")}
    compare = " ".join(f"{name}={path_in_repository(run)}" for name, run in runs(options).items())
    return command_line("image-to-video", **files, compare=compare or None)
