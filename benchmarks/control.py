"""Does an adapter LoRA cost anything in sampling? Seconds per step with it over those without.

    python quickstart.py bench control -- --size 64 --pairs 5

The files and the ComfyUI of `bench t2v`, with a seeded full-size ControlNet and T2I-Adapter and a LoRA for
each, by Load ControlNet Model, AnimateLCM Control LoRA and Apply ControlNet. Plain and adapted take turns.
Writes docs/results/bench_control.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from repository import RESULTS, write_result
from support import full_files, inprocess
from t2v import MOVING, Bench, per_step

from frontdoor.hosts import checkout
from training import machine

FILES = {
    "controlnet": (full_files.CONTROLNET, full_files.CONTROL_LORA),
    "t2i_adapter": (full_files.T2I_ADAPTER, full_files.T2I_LORA),
}
FRAMES, STEPS = 16, 2


def conditions(bench: Bench, kind: str, size: int) -> dict[str, Any]:
    """The condition with the plain adapter, and with the adapted one; one hint per frame."""
    adapter, lora = map(full_files.name, FILES[kind])
    (plain,) = bench.comfy.run("ControlNetLoader", control_net_name=adapter)
    (adapted,) = bench.comfy.run("AnimateLCM_ControlLoRA", control_net=plain, lora=lora, strength=1.0)
    hints = torch.rand(FRAMES, size, size, 3, generator=torch.Generator().manual_seed(1))
    settings = {"image": hints, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    both = {"positive": bench.condition, "negative": bench.condition, **settings}
    return {
        name: bench.comfy.run("ControlNetApplyAdvanced", control_net=control, **both)[0]
        for name, control in (("plain", plain), ("adapted", adapted))
    }


def measure(bench: Bench, kind: str, size: int, pairs: int) -> dict[str, Any]:
    """Seconds of a step of both, in turn and in alternating order, and their ratio."""
    given = conditions(bench, kind, size)
    times: dict[str, list[float]] = {name: [] for name in given}
    for round_ in range(pairs + 1):  # the first loads and warms up
        for name in given if round_ % 2 else reversed(given):
            bench.condition = given[name]
            steps = per_step(bench.run(MOVING, size, FRAMES, STEPS)[1])
            if round_:
                times[name].append(steps[0])
    ratios = sorted(b / a for a, b in zip(times["plain"], times["adapted"], strict=True))
    print(f"  {kind}: {ratios}", flush=True)
    return {
        "seconds_per_step": {name: [round(t, 4) for t in values] for name, values in times.items()},
        "ratio": round(ratios[len(ratios) // 2], 4),
        "least_to_greatest": [round(ratios[0], 4), round(ratios[-1], 4)],
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("host", type=Path, help="folder of a ComfyUI; quickstart.py passes it")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    host, where = checkout(options.host), machine.describe()
    full_files.write()
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        bench = Bench(inprocess.boot(host, Path(folder), gpu=where["gpu"] is not None))
        bench.load_motion()
        plain = bench.condition
        found = {}
        for kind in FILES:
            bench.condition = plain
            found[kind] = measure(bench, kind, options.size, options.pairs)
    result = {
        "command": f"python quickstart.py bench control --host {host.version} -- --size {options.size} "
        f"--pairs {options.pairs}",
        "date": time.strftime("%Y-%m-%d"),
        "host": host.version,
        "machine": where,
        "frames": FRAMES,
        **found,
    }
    write_result(RESULTS / "bench_control.json", result)
    print(json.dumps({kind: found[kind]["ratio"] for kind in FILES}))


if __name__ == "__main__":
    main()
