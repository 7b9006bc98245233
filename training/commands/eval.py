"""`eval`: sample clips from exported weights, and measure them.

python -m training eval --run runs/my_video --prompts captions.txt --to evaluations/mine
python -m training eval --checkpoint sd15.safetensors --tokenizer ComfyUI/comfy/sd1_tokenizer \\
    --motion AnimateLCM_sd15_t2v.safetensors --lora AnimateLCM_sd15_t2v_lora.safetensors \\
    --prompts ucf101.csv --clips 2424 --clip CLIP-ViT-H-14 --i3d i3d_400.pt --real UCF-101 --to table1
python -m training eval --checkpoint sd15.safetensors --tokenizer ComfyUI/comfy/sd1_tokenizer \\
    --motion mm_sd_v15_v2.ckpt --method ddim --steps 25 --prompts captions.txt --to evaluations/teacher

The folder TO gets a video for each clip (steps_4/00012.mp4), a sheet of the first clips (steps_4.png) and
results.json. The same command resumes an evaluation that was cut. Later commands may measure other metrics,
more clips or more steps in the same folder; results.json holds those of the last one. To evaluate a
personalised model, name it as --checkpoint. Nothing is downloaded: a metric is measured if its weights are
named. A variant's own metrics need none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from animatelcm_core.atomic import write_text
from animatelcm_core.schedule import SCHEDULES

from ..config import BaseConfig, ConfigError
from ..eval.captions import read_captions
from ..eval.plan import Plan, claim_folder, fill, seconds_per_clip
from ..eval.rows import digest
from ..eval.videos import write_sheet
from ..machine import describe
from ..runs import sampled_files
from ..variants import find_variant, known_variants
from .common import run_reporting_errors

Metric = Callable[[int], dict[str, Any]]  # number of steps -> what is measured of those clips
PAPER_GUIDANCE = 7.5


def base_of(options: argparse.Namespace) -> BaseConfig:
    """The files to evaluate: those of --run, or those named one by one, which take precedence."""
    values = sampled_files(options.run) if options.run else {}
    for name in ("variant", "checkpoint", "motion", "lora", "tokenizer"):
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    if "checkpoint" not in values:
        raise ConfigError("got neither --run nor --checkpoint; expected one of them")
    try:
        return BaseConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"--{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def captions_of(options: argparse.Namespace, variant: str) -> list[str]:
    """The captions of --prompts, else the variant's own. Raises ConfigError."""
    if options.prompts is not None:
        return read_captions(options.prompts, options.caption_column)
    metrics = find_variant(variant).metrics
    if metrics is not None:
        return metrics().all_captions()
    raise ConfigError("got no --prompts; expected a file with one caption a line, or a CSV")


def value_or(value: Any, default: Any) -> Any:
    """`value`, or `default` for an option that is None."""
    return default if value is None else value


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan, checked as far as that needs no weights. Raises ConfigError, DataError."""
    base = base_of(options)
    variant = find_variant(base.variant)
    fixed = variant.metrics is not None  # they know clips of one size only
    frames = value_or(options.frames, 16 if base.motion else 1)
    height, width = options.size or variant.size
    if height % 8 or width % 8 or min(height, width) < 8 or (fixed and (height, width) != variant.size):
        raise ConfigError(
            f"got --size {height} {width}; expected "
            + ("{} {}".format(*variant.size) if fixed else "multiples of 8 pixels")
        )
    if base.motion is None and (fixed or frames > 1):
        raise ConfigError(
            f"got {frames} frames without motion weights; expected --motion FILE"
            f"{f', which the metrics of {base.variant} need' if fixed else ', or --frames 1 for pictures'}"
        )
    captions = tuple(captions_of(options, base.variant))
    clips = value_or(options.clips, len(captions))
    if min(clips, frames, *options.steps) < 1:
        raise ConfigError("got --clips, --frames or --steps below 1; expected 1 or more")
    return Plan(
        base=base,
        captions=captions,
        clips=clips,
        steps=tuple(sorted(set(options.steps))),
        sampler=options.method,
        guidance=value_or(options.guidance, 1.0 if options.method == "lcm" else PAPER_GUIDANCE),
        spacing=value_or(options.spacing, "trailing" if options.method == "dpm++" else "simple"),
        frames=frames,
        size=(height, width),
        seed=options.seed,
        strength=options.lora_strength,
        schedule=options.schedule,
        precision=options.precision,
    )


def metrics_of(
    options: argparse.Namespace, plan: Plan, device: torch.device
) -> tuple[list[Metric], dict[str, Any]]:
    """The metrics, their weights loaded before anything is sampled; and where those weights come from."""
    found = [
        own_metric(options, plan),
        clipsim_metric(options, plan, device) if options.clip else None,
        fvd_metric(options, plan, device) if options.i3d or options.real else None,
    ]
    present = [metric for metric in found if metric is not None]
    return [metric for metric, _ in present], {k: v for _, about in present for k, v in about.items()}


def own_metric(options: argparse.Namespace, plan: Plan) -> tuple[Metric, dict[str, Any]] | None:
    """The variant's own metrics, None if it has none."""
    load = find_variant(plan.base.variant).metrics
    if load is None:
        return None
    metrics = load()
    metrics.labels_of(plan.captions)
    clips = value_or(options.real_clips, metrics.REAL)

    def measure(steps: int) -> dict[str, Any]:
        space, paths = metrics.reference(options.to / "features", clips), plan.paths(options.to, steps)
        return metrics.measure_videos(paths, plan.clip_captions(), plan.frames, space)

    return measure, metrics.about(clips)


def clipsim_metric(
    options: argparse.Namespace, plan: Plan, device: torch.device
) -> tuple[Metric, dict[str, Any]]:
    from ..eval.clipsim import clipsim, load_clip

    clip = load_clip(options.clip, device)
    cache = options.to / "features" / f"clip_{clip.digest}"

    def measure(steps: int) -> dict[str, Any]:
        paths = plan.paths(options.to, steps)
        return clipsim(clip, paths, plan.clip_captions(), plan.frames, cache / f"steps_{steps}")

    return measure, {"clip": {"name": clip.name, "digest": clip.digest}}


def fvd_metric(
    options: argparse.Namespace, plan: Plan, device: torch.device
) -> tuple[Metric, dict[str, Any]]:
    from ..eval.fvd import LEAST, Real, fvd, generated_features, real_features
    from ..eval.i3d import load_i3d

    if not (options.i3d and options.real):
        raise ConfigError("got one of --i3d and --real; expected both: FVD compares with real videos")
    if plan.frames < LEAST:
        raise ConfigError(f"got {plan.frames} frames with --i3d; expected {LEAST} or more")
    net, weights = load_i3d(options.i3d, device), digest([options.i3d])
    cache = options.to / "features" / f"i3d_{weights}"
    real = Real(options.real, options.real_stride, value_or(options.real_clips, Real.most), plan.seed)
    theirs = real_features(net, real, plan.frames, cache)

    def measure(steps: int) -> dict[str, Any]:
        paths = plan.paths(options.to, steps)
        ours = generated_features(net, paths, plan.frames, cache / f"steps_{steps}")
        return fvd(ours, theirs, options.fvd_clips, plan.seed)

    about = {"name": options.i3d.name, "digest": weights, "logits": 400, "size": [224, 224]}
    return measure, {"i3d": {**about, "real_videos": len(theirs), "real_stride": real.stride}}


def evaluate(options: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """Sample what is missing, measure, and write results.json. Raises errors that a person can act on."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("got --device cuda; expected a CUDA card that this PyTorch can use")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    plan, to = plan_of(options), options.to
    about = plan.about()
    claim_folder(to, about)
    metrics, measured_by = metrics_of(options, plan, device)
    fill(plan, to, device)
    rows = []
    for steps in plan.steps:
        write_sheet(to, steps, plan.clips, plan.frames, plan.size)
        seconds = seconds_per_clip(plan.paths(to, steps))
        found = {"steps": steps, "clips": plan.clips, "seconds_per_clip": seconds}
        for metric in metrics:
            found |= metric(steps)
        rows.append({"method": plan.sampler, "guidance": plan.guidance, "spacing": plan.spacing, **found})
    results = {
        "command": command_line(arguments),
        "date": time.strftime("%Y-%m-%d"),
        "device": device.type,
        "machine": describe(),
        "settings": about,
        "measured_by": measured_by,
        "rows": rows,
    }
    write_text(to / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def command_line(arguments: list[str]) -> str:
    """The command line for the results; absolute paths are cut to their last part."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    return " ".join(["python -m training", *words])


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m training eval",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = out.add_argument
    add("--run", type=Path, help="folder of a run: evaluates its base with its exported weights")
    add("--checkpoint", type=Path, help="single-file Stable Diffusion checkpoint")
    add("--variant", choices=list(known_variants()), help="size of the checkpoint (default sd15)")
    add("--tokenizer", type=Path, help="folder with vocab.json and merges.txt, for sd15")
    add("--motion", type=Path, help="motion weights; without them pictures are sampled")
    add("--lora", type=Path, help="LoRA in kohya's names")
    add("--lora-strength", type=float, default=1.0)
    add(
        "--schedule",
        choices=list(SCHEDULES),
        help="noise schedule, if not the one that the motion file names",
    )
    add(
        "--prompts",
        type=Path,
        help="file with one caption a line, or a CSV; default: the variant's own captions",
    )
    add("--caption-column", default="caption", help="column of the CSV with the captions")
    add(
        "--clips", type=int, help="number of clips (default: one per caption); captions repeat with new seeds"
    )
    add("--method", choices=("lcm", "ddim", "dpm++"), default="lcm")
    add("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    add(
        "--guidance",
        type=float,
        help=f"cfg scale (default 1 for lcm, else {PAPER_GUIDANCE:g} as in the paper)",
    )
    add("--spacing", choices=("simple", "leading", "trailing", "linspace"), help="how timesteps are spaced")
    add("--frames", type=int, help="frames of a clip (default 16)")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="height and width in pixels (default: the variant's own, 512 512 for sd15)",
    )
    add("--seed", type=int, default=0)
    add("--to", type=Path, required=True, help="folder for the clips and results.json")
    add(
        "--device",
        choices=("cuda", "mps", "cpu"),
        help="where to run; by default the graphics card, if there is one",
    )
    add("--precision", choices=("no", "fp16", "bf16"), default="no", help="precision of autocast")
    add("--clip", type=Path, help="folder of a CLIPModel: measures CLIPSIM")
    add("--i3d", type=Path, help="weights of I3D with 400 classes: measures FVD against --real")
    add("--real", type=Path, help="folder of real videos")
    add("--real-stride", type=int, default=1, help="take every N-th frame of a real video")
    add(
        "--real-clips",
        type=int,
        help="real videos at most (default 4096), or real clips for a variant's own metrics",
    )
    add("--fvd-clips", type=int, default=2048, help="clips of each kind for one FVD")
    return out


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments[1:])

    def run() -> int:
        results = evaluate(options, arguments)
        for row in results["rows"]:
            print(json.dumps(row))
        return 0

    return run_reporting_errors(run, str(options.run or options.checkpoint or options.prompts))
