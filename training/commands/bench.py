"""`bench`: speed, memory and share of peak arithmetic of one optimizer step, on random latents.

python -m training bench --config sd15_video --random-weights --size 256 256 --precision bf16
python -m training bench --config sd15_image_lora --random-weights --batch 4 --set base.dtype=bfloat16

With --random-weights no file is needed. The step is the real one: teacher, target, online, backward,
clipping, AdamW, moving averages. The peak is that of a large matrix product in the same precision, measured
in the same run. Counted arithmetic is what runs: with gradient checkpointing the repeated forward counts too.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from animatelcm_core.atomic import write_text

from ..config import ConfigError, RunConfig
from ..machine import describe
from ..runs import parse_run
from ..stages import STAGES
from ..step_speed import measure_step
from ..weights import Files, RandomWeights
from .common import add_config_options, config_path, run_reporting_errors


def settings_of(config: RunConfig, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The settings that set this measurement apart from others."""
    return {
        "config": name,
        "stage": config.stage,
        **STAGES[config.stage].settings(config),
        "frames": frames_of(config, options),
        "size": list(options.size),
        "batch": config.batch.size,
        "accumulate": config.batch.accumulate,
        "gradient_checkpointing": config.gradient_checkpointing,
        "precision": options.precision,
        "base_dtype": config.base.dtype,
        "random_weights": options.random_weights,
    }


def frames_of(config: RunConfig, options: argparse.Namespace) -> int:
    """Frames of a clip; stages on pictures take one."""
    return 1 if STAGES[config.stage].pictures else options.frames


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add `row` to the runs in `path`; it replaces an older one of the same settings and machine."""
    runs = json.loads(path.read_text(encoding="ascii"))["runs"] if path.exists() else []
    same = ("settings", "device", "processes")
    runs = [run for run in runs if any(run[key] != row[key] for key in same)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"runs": [*runs, row]}, indent=1) + "\n")


def resolve(options: argparse.Namespace) -> RunConfig:
    """The config with what the options change. Raises ConfigError."""
    changes = [f"batch.size={options.batch}", *options.changes]
    if options.gradient_checkpointing is not None:
        changes.append(f"gradient_checkpointing={str(options.gradient_checkpointing).lower()}")
    config = parse_run(config_path(options.config), changes, files=not options.random_weights)
    if any(side % 64 or side < 64 for side in options.size):
        raise ConfigError(f"got --size {options.size}; expected multiples of 64 pixels")
    if min(options.frames, options.steps, options.batch) < 1:
        raise ConfigError("got --frames, --steps or --batch below 1; expected 1 or more")
    return config


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m training bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_options(out)
    out.add_argument(
        "--random-weights", action="store_true", help="use seeded random weights instead of files"
    )
    out.add_argument(
        "--frames", type=int, default=16, help="frames of a clip (default 16); stages on pictures take one"
    )
    out.add_argument(
        "--size", type=int, nargs=2, default=[256, 256], metavar=("H", "W"), help="height and width in pixels"
    )
    out.add_argument("--batch", type=int, default=1, help="clips that a process takes at once")
    out.add_argument("--steps", type=int, default=5, help="steps to time, after one warm-up step")
    out.add_argument("--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=None)
    out.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        help="where to run; by default the graphics card, if there is one",
    )
    out.add_argument("--precision", choices=("bf16", "no"), default="no", help="precision of autocast")
    out.add_argument("--to", type=Path, help="JSON file to add the result to")
    return out


def row_of(config: RunConfig, options: argparse.Namespace, arguments: list[str]) -> dict[str, Any] | None:
    """Measure, and return a row with the numbers and their settings; None outside the main process."""
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=options.precision)
    set_seed(config.seed)
    machine, frames = describe(), frames_of(config, options)
    weights = RandomWeights(config) if options.random_weights else Files(config)
    result = measure_step(config, weights, accelerator, frames, tuple(options.size), options.steps)
    if not accelerator.is_main_process:
        return None
    return {
        "command": " ".join(["python -m training", *arguments]),
        "date": time.strftime("%Y-%m-%d"),
        "settings": settings_of(config, options.config, options),
        "device": machine["gpu"] if accelerator.device.type == "cuda" else machine["cpu"],
        "processes": accelerator.num_processes,
        "machine": machine,
        **result,
    }


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments[1:])

    def run() -> int:
        config = resolve(options)
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("got --device cuda; expected a CUDA card that this PyTorch can use")
        row = row_of(config, options, arguments)
        if row is not None:
            print(json.dumps(row, indent=1))
            if options.to is not None:
                add_row(options.to, row)
        return 0

    return run_reporting_errors(run, options.config)
