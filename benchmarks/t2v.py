"""What does motion cost? Seconds per step of a full-size clip with the motion model over those without.

    python quickstart.py bench t2v -- --size 256 --frames 16 --pairs 3 --steps 1

Stable Diffusion 1.5 and the AnimateLCM motion model with seeded random weights (the first run writes 3.1 GB
to .hosts/seeded/), in a real ComfyUI in this process: loaded by its loaders and the pack's nodes, sampled by
its sampler at cfg 1. Runs without and with motion take turns, so that a machine that changes its speed does
so for both, and each pair gives one ratio. Writes docs/results/bench_t2v.json and prints a table.

On the CPU two clocks are read: the wall's, and the processor's time of this process, which other programs on
the machine disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from repository import RESULTS, write_result
from support import full_files, inprocess
from support.inprocess import Comfy
from torch.utils.flop_counter import FlopCounterMode

from frontdoor.hosts import checkout
from training import machine

SEED = 1
USED = (full_files.CHECKPOINT, full_files.MOTION)
STILL, MOVING = KINDS = ("without", "with")


class Bench:
    """The two models in a running ComfyUI, and one timed run of either."""

    def __init__(self, comfy: Comfy) -> None:
        self.comfy = comfy
        extra_paths = full_files.extra_paths(comfy.base / "extra_model_paths.yaml")
        comfy.module("utils.extra_config").load_extra_path_config(str(extra_paths))
        checkpoint = full_files.name(full_files.CHECKPOINT)
        self.model, clip, _vae = comfy.run("CheckpointLoaderSimple", ckpt_name=checkpoint)
        (self.condition,) = comfy.run("CLIPTextEncode", clip=clip, text="a red fish swimming left")
        schedule = {"schedule": "text to video", "beta_end": 0.0, "original_steps": 0}
        self.models = {STILL: comfy.run("AnimateLCM_ModelSampling", model=self.model, **schedule)[0]}

    def load_motion(self) -> None:
        name = full_files.name(full_files.MOTION)
        (motion,) = self.comfy.run("AnimateLCM_LoadMotionModel", motion_model=name)
        settings = {"schedule": "auto", "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
        self.models[MOVING] = self.comfy.run(
            "AnimateLCM_ApplyMotionModel", model=self.model, motion=motion, **settings
        )[0]

    def run(self, kind: str, size: int, frames: int, steps: int) -> tuple[torch.Tensor, list[Clocks]]:
        """Latents, and the clocks at the sampler's start and after each step."""
        clocks: list[Clocks] = []

        def starting(executor: Any, *args: Any, **kw: Any) -> Any:
            clocks.append(Clocks())
            return executor(*args, **kw)

        model = self.models[kind].clone()
        model.add_wrapper_with_key("sampler_sample", "bench", starting)
        (sigmas,) = self.comfy.run("AnimateLCM_Scheduler", model=model, steps=steps, denoise=1.0)
        (sampler,) = self.comfy.run("AnimateLCM_SamplerLCM", s_noise=1.0)
        latent = torch.zeros(frames, 4, size // 8, size // 8)
        sample = self.comfy.module("comfy.sample")
        with torch.inference_mode():
            result = sample.sample_custom(
                model,
                sample.prepare_noise(latent, SEED),
                1.0,
                sampler,
                sigmas,
                self.condition,
                self.condition,
                latent,
                callback=lambda *_: clocks.append(Clocks()),
                disable_pbar=True,
                seed=SEED,
            )
        return result, clocks


class Clocks:
    """The time now, once the GPU has finished: by the wall's clock, and what this process has used."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def per_step(clocks: list[Clocks]) -> tuple[float, float]:
    """Median seconds of a step, by the wall and by the processor."""
    steps = list(zip(clocks, clocks[1:], strict=False))
    walls, processors = [b.wall - a.wall for a, b in steps], [b.cpu - a.cpu for a, b in steps]
    return statistics.median(walls), statistics.median(processors)


def summary(pairs: list[dict[str, float]], clock: str) -> dict[str, Any]:
    """Medians, and the interval from the least to the greatest ratio.

    Of n independent pairs that interval holds the true median with probability 1 - 2^(1 - n).
    """
    ratios = [pair[f"{clock}_{MOVING}"] / pair[f"{clock}_{STILL}"] for pair in pairs]
    return {
        **{kind: round(statistics.median(pair[f"{clock}_{kind}"] for pair in pairs), 4) for kind in KINDS},
        "ratio": round(statistics.median(ratios), 4),
        "interval": [round(min(ratios), 4), round(max(ratios), 4)],
        "interval_holds_median": round(1 - 2.0 ** (1 - len(pairs)), 4),
    }


def warm_up(bench: Bench, size: int, frames: int) -> dict[str, Any]:
    """One step of each kind: its arithmetic, and the peak of memory before motion is loaded and after.

    Raises SystemExit if the latents are not finite or motion changes them by less than 5 %.
    """
    latents, arithmetic, memory = {}, {}, {}
    for kind in KINDS:
        if kind not in bench.models:
            bench.load_motion()
        with FlopCounterMode(display=False) as counter:
            latents[kind] = bench.run(kind, size, frames, 1)[0]
        arithmetic[kind] = round(counter.get_total_flops() / 1e12, 4)
        memory[kind] = round(machine.peak_memory(), 2)
    change = float((latents[MOVING] - latents[STILL]).norm() / latents[STILL].norm())
    if not latents[MOVING].isfinite().all() or change < 0.05:
        raise SystemExit(f"got latents that motion changes by {change:.1%}; expected finite ones, over 5 %")
    arithmetic["ratio"] = round(arithmetic[MOVING] / arithmetic[STILL], 4)
    return {"tera_flop": arithmetic, "peak_gib": memory, "motion_changes": round(change, 4)}


def measure(bench: Bench, size: int, frames: int, pairs: int, steps: int) -> dict[str, Any]:
    """All numbers for clips of one size."""
    found = {"size": size, "frames": frames, "steps": steps, **warm_up(bench, size, frames)}
    rows: list[dict[str, float]] = []
    for _ in range(pairs):
        row: dict[str, float] = {}
        for kind in KINDS:
            wall, processor = per_step(bench.run(kind, size, frames, steps)[1])
            row |= {f"wall_{kind}": round(wall, 4), f"cpu_{kind}": round(processor, 4)}
        rows.append(row)
        print(f"  {size}x{size}, pair {len(rows)} of {pairs}: {row}", flush=True)
    clocks = ("wall",) if torch.cuda.is_available() else ("wall", "cpu")
    return {**found, **{f"seconds_per_step_{clock}": summary(rows, clock) for clock in clocks}, "pairs": rows}


def table(runs: list[dict[str, Any]]) -> str:
    """The results for a person."""
    lines = ["| clip | clock | s/step without | with | ratio | least to greatest | arithmetic | peak GiB |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for run in runs:
        for clock in ("wall", "cpu"):
            if (found := run.get(f"seconds_per_step_{clock}")) is not None:
                lines.append(
                    f"| {run['size']}x{run['size']}, {run['frames']} frames | {clock} "
                    f"| {found[STILL]:.3f} | {found[MOVING]:.3f} | {found['ratio']:.3f} "
                    f"| {found['interval'][0]:.3f} to {found['interval'][1]:.3f} "
                    f"| {run['tera_flop']['ratio']:.3f} "
                    f"| {run['peak_gib'][STILL]:.1f} / {run['peak_gib'][MOVING]:.1f} |"
                )
    return "\n".join(lines)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("host", type=Path, help="folder of a ComfyUI; quickstart.py passes it")
    parser.add_argument("--size", type=int, nargs="+", help="pixels (default 256; with a GPU 256 and 512)")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="steps of each run; their median counts")
    parser.add_argument("--out", type=Path, default=RESULTS / "bench_t2v.json")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    sizes = options.size or ([256, 512] if gpu else [256])
    host, where = checkout(options.host), machine.describe()
    full_files.write()
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        bench = Bench(inprocess.boot(host, Path(folder), gpu=gpu))
        runs = [measure(bench, size, options.frames, options.pairs, options.steps) for size in sizes]
        dtype = str(bench.models[MOVING].model.get_dtype()).removeprefix("torch.")
    result = {
        "command": f"python quickstart.py bench t2v --host {host.version} -- "
        f"--size {' '.join(map(str, sizes))} --frames {options.frames} "
        f"--pairs {options.pairs} --steps {options.steps}",
        "date": time.strftime("%Y-%m-%d"),
        "host": host.version,
        "machine": where,
        "unet_dtype": dtype,
        "seeds": {"noise": SEED, **{full_files.name(name): full_files.SEEDS[name] for name in USED}},
        "runs": runs,
    }
    write_result(options.out, result)
    print(f"\n{table(runs)}\n\nWritten to {options.out}")


if __name__ == "__main__":
    main()
