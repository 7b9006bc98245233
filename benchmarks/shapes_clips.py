"""Do the small world's clips show their captions? Made in a real ComfyUI by the pack, read by the judge.

    python quickstart.py bench shapes_clips -- --model demo --clips 200
    python quickstart.py bench shapes_clips -- --model teacher --clips 200
    python quickstart.py bench shapes_clips -- --model inked --clips 200

demo      what Load Demo gives: distilled, 4 steps, cfg 1
inked     a personal checkpoint in another style under the demo's LoRA and motion weights, 4 steps, cfg 1
teacher   what it was distilled from: the motion model shapes_motion, 25 DDIM steps, guidance 3

Queues one graph a clip, over HTTP, with seeds that no training step used and the 90 captions in turn. Writes
docs/results/shapes/MODEL.json and a contact sheet beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from animatelcm_core.atomic import write_text  # noqa: E402
from frontdoor.api import Client  # noqa: E402
from frontdoor.hosts import Host, checkout  # noqa: E402
from frontdoor.server import Server, gpu_usable, install_demo_model, make_base  # noqa: E402
from training.eval.intervals import wilson  # noqa: E402
from training.small_world.experiments import style  # noqa: E402
from training.small_world.measure import pictures  # noqa: E402
from training.small_world.paths import JUDGE  # noqa: E402
from training.small_world.world import judge  # noqa: E402
from training.small_world.world.clips import captions_of, labels_in_turn  # noqa: E402

FIRST_SEED = 500_000
SHOWN = 12  # clips on the sheet
SETTINGS = {"demo": (4, 1.0), "inked": (4, 1.0), "teacher": (25, 3.0)}
DEMO = ROOT / "demo"
Read = tuple[list[dict[str, Any]], list[torch.Tensor]]  # rows, and the first clips
LCM = ("shapes_lcm_motion.safetensors", "shapes_lcm_lora.safetensors", 1.0)


def base_graph(model: str) -> dict[str, Any]:
    """The demo's graph without its video; others with a loader of files, the teacher with its sampler."""
    graph = json.loads((DEMO / "demo_api.json").read_text(encoding="utf-8"))
    graph = {key: value for key, value in graph.items() if key not in ("large", "clip", "video")}
    if model != "demo":
        checkpoint = "shapes_sd.safetensors" if model == "teacher" else "shapes_inked.safetensors"
        motion, lora, strength = ("shapes_motion.safetensors", "none", 0.0) if model == "teacher" else LCM
        inputs = {"ckpt_name": checkpoint, "motion_model": motion, "lcm_lora": lora}
        inputs |= {"lora_strength": strength, "schedule": "auto"}
        graph["model"] = {"class_type": "AnimateLCM_LoadCheckpoint", "inputs": inputs}
    if model == "teacher":
        inputs = dict(graph["sample"]["inputs"])
        inputs |= {"latent_image": inputs.pop("latent"), "sampler_name": "ddim", "scheduler": "simple"}
        graph["sample"] = {"class_type": "KSampler", "inputs": inputs}
    return graph


def clip_graph(base: dict[str, Any], text: str, seed: int, steps: int, guidance: float) -> dict[str, Any]:
    """The graph for one caption and seed."""
    graph = json.loads(json.dumps(base))
    graph["prompt"]["inputs"]["text"] = text
    graph["sample"]["inputs"].update(seed=seed, steps=steps, cfg=guidance)
    return graph


def run_graph(client: Client, graph: dict[str, Any]) -> torch.Tensor:
    """(f, 3, 64, 64) in 0..1 of one queued graph."""
    run = client.run(graph, timeout=600)
    frames = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in client.files(run, "frames")]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


@contextmanager
def demo_server(host: Host, inked: bool) -> Iterator[Client]:
    """A client of a server on `host` with the demo's files, and the inked checkpoint if asked for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base(folder)
        install_demo_model(folder)
        if inked:
            to = folder / "models" / "checkpoints" / "shapes_inked.safetensors"
            style.merge_style(DEMO / "shapes_sd.safetensors", DEMO / "shapes_inked_lora.safetensors", to)
        python = Path(sys.executable)
        with (
            Server(host, folder, python=python, gpu=gpu_usable(python)) as server,
            Client(server.url) as client,
        ):
            yield client


def read_clips(client: Client, graph: dict[str, Any], n: int, steps: int, guidance: float) -> Read:
    """Run a graph for each of n clips and read what came out."""
    net, labels, rows, shown = judge.load(JUDGE), labels_in_turn(n), [], []
    for i, text in enumerate(captions_of(labels)):
        clip = run_graph(client, clip_graph(graph, text, FIRST_SEED + i, steps, guidance))
        right = judge.read(clip[None], net).right(labels[i : i + 1])
        rows.append({"seed": FIRST_SEED + i, "text": text, **{k: bool(v) for k, v in right.items()}})
        if len(shown) < SHOWN:
            shown.append(clip)
        if (i + 1) % 20 == 0:
            share = sum(row["all"] for row in rows) / len(rows)
            print(f"{i + 1}/{n} all right {share:.3f}", flush=True)
    return rows, shown


def shares(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares that are right, with their 95 % intervals."""
    summary = {}
    for key in ("colour", "shape", "motion", "all"):
        hits = sum(row[key] for row in rows)
        summary[key] = {"share": round(hits / len(rows), 4), "interval95": wilson(hits, len(rows))}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--model", choices=SETTINGS, default="demo")
    parser.add_argument("--steps", type=int, help="steps in place of the model's own")
    parser.add_argument("--guidance", type=float, help="guidance in place of the model's own")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "results" / "shapes")
    options = parser.parse_args()
    steps, guidance = SETTINGS[options.model]
    steps, guidance = options.steps or steps, options.guidance or guidance
    options.to.mkdir(parents=True, exist_ok=True)
    host, began = checkout(options.host), time.monotonic()
    with demo_server(host, options.model == "inked") as client:
        rows, shown = read_clips(client, base_graph(options.model), options.clips, steps, guidance)
    result = {
        "command": f"python quickstart.py bench shapes_clips -- --model {options.model} "
        f"--clips {options.clips} --steps {steps} --guidance {guidance:g}",
        "date": time.strftime("%Y-%m-%d"),
        "host": host.version,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "seconds": round(time.monotonic() - began),
        "steps": steps,
        "guidance": guidance,
        "summary": shares(rows),
        "clips": rows,
    }
    write_text(options.to / f"{options.model}.json", json.dumps(result, indent=1) + "\n")
    pictures.save_clips([clip[::2] for clip in shown], options.to / f"{options.model}_clips.webp")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
