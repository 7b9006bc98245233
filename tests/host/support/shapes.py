"""The small world in host tests: its captions, clips of the demo's graphs, and what the judge reads in them.

The judge is training code: it runs in a process of its own, with the repository as its import root.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .client import Client

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs" / "results" / "shapes"
GRAPH: dict[str, Any] = json.loads((ROOT / "demo" / "demo_api.json").read_text(encoding="utf-8"))
BODIES, COLOURS = ("fish", "crab", "star"), ("red", "orange", "yellow", "green", "blue", "purple")
DOING = ("sleeping", "swimming left", "swimming right", "swimming up", "swimming down")
Label = tuple[int, int, int]  # body, colour, motion
LABELS: list[Label] = [(b, c, m) for b in range(3) for c in range(6) for m in range(5)]

_READ = """
import sys
from safetensors.torch import load_file, save_file
from training.small_world.paths import JUDGE
from training.small_world.world import judge
data = load_file(sys.argv[1])
reading = judge.read(data["clips"], judge.load(JUDGE))
right = {k: v.float() for k, v in reading.right(data["labels"]).items()}
mask = judge.colourfulness(data["clips"])[0]
more = {k: getattr(reading, k).contiguous() for k in ("rgb", "centre", "velocity")}
save_file({**right, **more, "mask": mask}, sys.argv[2])
"""


def asked(n: int) -> tuple[list[Label], list[str]]:
    """`n` labels in turn, and their captions."""
    labels = [LABELS[i * 37 % len(LABELS)] for i in range(n)]
    return labels, [caption(label) for label in labels]


def caption(label: Label) -> str:
    body, colour, motion = label
    return f"a {COLOURS[colour]} {BODIES[body]} {DOING[motion]}"


def in_the_repository(*arguments: str) -> str:
    """Run Python in a process that has the repository as its import root, as training has."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def demo_clip(client: Client, graph: dict[str, Any], caption: str, seed: int) -> Tensor:
    """(16, 3, 64, 64) in 0..1: the demo's graph, or one like it, with this prompt."""
    graph = copy.deepcopy({k: v for k, v in graph.items() if k not in ("large", "clip", "video")})
    graph["prompt"]["inputs"]["text"] = caption
    graph["sample"]["inputs"]["seed"] = seed
    return as_clip(client.images(client.run(graph), "frames"))


def as_clip(frames: np.ndarray) -> Tensor:
    """(frames, h, w, 3) uint8 -> (frames, 3, h, w) in 0..1."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def read(clips: Tensor, labels: list[Label], folder: Path) -> dict[str, Tensor]:
    """What the judge reads in clips (n, f, 3, 64, 64).

    colour, shape, motion, all: (n,) of 0 and 1, whether right. rgb: (n, 3) of the body. centre: (n, f, 2) in
    pixels. velocity: (n, 2) in pixels a frame. mask: (n, f, 64, 64), where the creature is.
    """
    given, found = folder / "clips.safetensors", folder / "read.safetensors"
    save_file({"clips": clips.contiguous(), "labels": torch.tensor(labels)}, given)
    in_the_repository("-c", _READ, str(given), str(found))
    return load_file(found)
