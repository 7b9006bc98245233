"""How good is the small world's teacher? Clips made in a real ComfyUI by the pack's nodes, read by the judge.

    python quickstart.py bench shapes_teacher -- --clips 200 --guidance 3

Queues demo/demo_api.json once a clip, over HTTP, with seeds that no training step used and the 90 captions in
turn. Writes docs/results/shapes/teacher.json and a contact sheet beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frontdoor.api import Client  # noqa: E402
from frontdoor.hosts import checkout  # noqa: E402
from frontdoor.server import Server, gpu_usable, make_base  # noqa: E402
from training.eval.intervals import wilson  # noqa: E402
from training.shapes import judge, world  # noqa: E402

FIRST_SEED = 500_000


def clip_graph(base: dict[str, Any], text: str, seed: int, steps: int, guidance: float) -> dict[str, Any]:
    """The demo's graph without its video, for one caption and seed."""
    graph = {key: json.loads(json.dumps(base[key])) for key in base if key not in ("large", "clip", "video")}
    graph["prompt"]["inputs"]["text"] = text
    graph["sample"]["inputs"].update(seed=seed, steps=steps, cfg=guidance)
    return graph


def pictures(client: Client, graph: dict[str, Any]) -> torch.Tensor:
    """(f, 3, 64, 64) in 0..1 of one queued graph."""
    run = client.run(graph, timeout=600)
    frames = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in client.files(run, "frames")]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def sheet(rows: list[torch.Tensor], path: Path, scale: int = 2) -> None:
    """Every second frame of each clip, a clip a row."""
    grid = torch.cat([torch.cat(list(row[::2]), dim=2) for row in rows], dim=1)
    array = (grid.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(array)
    image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "results" / "shapes")
    options = parser.parse_args()
    graph = json.loads((ROOT / "demo" / "demo_api.json").read_text(encoding="utf-8"))
    net = judge.load(ROOT / "training" / "shapes" / "judge.safetensors")
    combinations = world.all_captions()
    options.to.mkdir(parents=True, exist_ok=True)
    host = checkout(options.host)
    rows, kept, began = [], [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        make_base(Path(folder))
        gpu = gpu_usable(Path(sys.executable))
        with (
            Server(host, Path(folder), python=Path(sys.executable), gpu=gpu) as server,
            Client(server.url) as client,
        ):
            for i in range(options.clips):
                body, colour, motion = label = combinations[i * 37 % len(combinations)]
                text = world.caption(world.BODIES[body], list(world.COLOURS)[colour], world.MOTIONS[motion])
                asked = clip_graph(graph, text, FIRST_SEED + i, options.steps, options.guidance)
                clip = pictures(client, asked)
                right = judge.read(clip[None], net).right(torch.tensor([label]))
                rows.append({"seed": FIRST_SEED + i, "text": text, **{k: bool(v) for k, v in right.items()}})
                if len(kept) < 12:
                    kept.append(clip)
                if (i + 1) % 20 == 0:
                    share = sum(row["all"] for row in rows) / len(rows)
                    print(f"{i + 1}/{options.clips} all right {share:.3f}", flush=True)
    summary = {}
    for key in ("colour", "shape", "motion", "all"):
        hits = sum(row[key] for row in rows)
        summary[key] = {"share": round(hits / len(rows), 4), "interval95": wilson(hits, len(rows))}
    result = {
        "command": f"python quickstart.py bench shapes_teacher -- --clips {options.clips} "
        f"--steps {options.steps} --guidance {options.guidance:g}",
        "date": time.strftime("%Y-%m-%d"),
        "host": host.version,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "seconds": round(time.monotonic() - began),
        "steps": options.steps,
        "guidance": options.guidance,
        "summary": summary,
        "clips": rows,
    }
    (options.to / "teacher.json").write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")
    sheet(kept, options.to / "teacher.png")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
