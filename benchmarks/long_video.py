"""What does length cost? Seconds per frame of a long clip in windows over those of a clip of 16 frames.

    python quickstart.py bench long_video -- --size 64 --frames 128 --overlap 4 --pairs 3

The files and the ComfyUI of `bench t2v`, with AnimateLCM Long Video on the MODEL. Short and long clips take
turns, so that a machine that changes its speed does so for both. The peak of memory is read after the short
clips and after the long ones: what it grows by is set beside the size of the latents. Writes
docs/results/bench_long_video.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from repository import RESULTS, write_result
from support import full_files, inprocess
from t2v import MOVING, Bench, per_step

from frontdoor.hosts import checkout
from training import machine

SHORT = 16


def measure(bench: Bench, size: int, frames: int, pairs: int) -> dict[str, Any]:
    """Seconds per frame of both lengths in turn, their ratios, and the growth of memory."""
    per_frame: dict[int, list[float]] = {SHORT: [], frames: []}
    peaks: dict[int, float] = {}
    for round_ in range(pairs + 1):  # the first warms up
        for length, times in per_frame.items():
            wall, _processor = per_step(bench.run(MOVING, size, length, 1)[1])
            peaks.setdefault(length, machine.peak_memory())
            if round_:
                times.append(wall / length)
                print(f"  {length} frames: {wall:.2f} s a step, {wall / length:.4f} s a frame", flush=True)
    ratios = sorted(b / a for a, b in zip(per_frame[SHORT], per_frame[frames], strict=True))
    return {
        "seconds_per_frame": {
            str(length): [round(t, 4) for t in times] for length, times in per_frame.items()
        },
        "ratio": round(ratios[len(ratios) // 2], 3),
        "least_to_greatest": [round(ratios[0], 3), round(ratios[-1], 3)],
        "peak_gib": {str(length): round(peak, 3) for length, peak in peaks.items()},
        "latents_gib": round(frames * 4 * (size // 8) ** 2 * 4 / machine.GIB, 6),
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("host", type=Path, help="folder of a ComfyUI; quickstart.py passes it")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--overlap", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    host, where = checkout(options.host), machine.describe()
    full_files.write()
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        bench = Bench(inprocess.boot(host, Path(folder), gpu=where["gpu"] is not None))
        bench.load_motion()
        windows = {"context_length": SHORT, "overlap": options.overlap, "schedule": "standard"}
        windows |= {"fuse": "pyramid", "freenoise": True}
        model = bench.models[MOVING]
        bench.models[MOVING] = bench.comfy.run("AnimateLCM_LongVideo", model=model, **windows)[0]
        cut = bench.comfy.pack("animatelcm_core.context").standard(options.frames, SHORT, options.overlap, 0)
        found = measure(bench, options.size, options.frames, options.pairs)
    result = {
        "command": f"python quickstart.py bench long_video --host {host.version} -- --size {options.size} "
        f"--frames {options.frames} --overlap {options.overlap} --pairs {options.pairs}",
        "date": time.strftime("%Y-%m-%d"),
        "host": host.version,
        "machine": where,
        "windows": len(cut),
        "frames_evaluated_per_frame": round(len(cut) * SHORT / options.frames, 3),
        **found,
    }
    write_result(RESULTS / "bench_long_video.json", result)
    print(json.dumps({key: result[key] for key in ("ratio", "least_to_greatest", "peak_gib")}, indent=1))


if __name__ == "__main__":
    main()
