"""Measures colour alignment: frames per second of both modes and of a plain OpenCV loop.

    python quickstart.py bench color

16 frames of 512x512 from a seed; the three are timed in turn, so that whatever else the machine does meets
all of them. Writes docs/results/bench_color.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from repository import RESULTS, write_result

from animatelcm_core.color_align import align, official
from training.machine import describe

SEED = 0


def loop(frames: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """What a user writes: the procedure on one frame after the other, in NumPy and OpenCV."""
    wanted = cv2.cvtColor(reference, cv2.COLOR_RGB2HSV).mean((0, 1))
    out = []
    for frame in (frames * 255).astype(np.uint8):
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv += (wanted - hsv.mean((0, 1))) * np.array([0.03, 1, 1])
        hsv = hsv.clip(0, (180, 255, 255)).astype(np.uint8)
        out.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return np.stack(out).astype(np.float32) / 255


def pictures(frames: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures with some grain: frames (n, size, size, 3) and a reference (1, 600, 800, 3)."""
    generator = torch.Generator().manual_seed(SEED)

    def make(n: int, height: int, width: int) -> torch.Tensor:
        coarse = torch.rand(n, 3, 8, 8, generator=generator)
        smooth = F.interpolate(coarse, (height, width), mode="bicubic")
        grain = 0.02 * torch.randn(smooth.shape, generator=generator)
        return (smooth + grain).clamp(0, 1).permute(0, 2, 3, 1).contiguous()

    return make(frames, size, size), make(1, 600, 800)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", type=Path, help="passed by quickstart.py; not used")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    frames, reference = pictures(options.frames, options.size)
    plain = frames.numpy(), (reference[0].numpy() * 255).astype(np.uint8)
    runs: dict[str, Callable[[], object]] = {
        "opencv_loop": lambda: loop(*plain),
        "official": lambda: official(frames, reference),
        "float": lambda: align(frames, reference),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: round(options.frames / median(times[1:]), 1) for name, times in seconds.items()}
    ratios = {
        name: round(median(a / b for a, b in zip(seconds["opencv_loop"][1:], times[1:], strict=True)), 2)
        for name, times in seconds.items()
    }
    result = {
        "command": "python quickstart.py bench color",
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe(),
        "frames": options.frames,
        "size": options.size,
        "rounds": options.rounds,
        "frames_per_second": rates,
        "times_the_loop": ratios,
    }
    write_result(RESULTS / "bench_color.json", result)
    print(json.dumps({"frames_per_second": rates, "times_the_loop": ratios}, indent=1))


if __name__ == "__main__":
    main()
