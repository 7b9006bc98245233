"""The demo: runs the graph in demo/ on a server, saves its video and a contact sheet. Runs in .venv."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .api import Client
from .clips import save
from .paths import HOSTS, ROOT
from .problem import Problem, print_anything, unforeseen

GRAPH = ROOT / "demo" / "demo_api.json"
COLUMNS, TILE, GAP = 4, 192, 6
PAPER = (250, 250, 250)


def main(arguments: list[str]) -> int:
    """Exit status 0 when both files are written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--prompt")
    parser.add_argument("--seed", type=int)
    given = parser.parse_args(arguments)
    print_anything()
    try:
        for path in make(given.url, given.output, given.prompt, given.seed):
            print(path)
    except (Problem, OSError) as problem:  # OSError: the server is gone, the disk is full, ...
        print(problem, file=sys.stderr)
        return 1
    except Exception as error:
        print(unforeseen(error, HOSTS), file=sys.stderr)
        return 1
    return 0


def make(url: str, output: Path, text: str | None, seed: int | None) -> list[Path]:
    """Run the graph on the server at `url`; returns the paths of mp4 and contact sheet. Raises Problem."""
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    if text is not None:
        graph["prompt"]["inputs"]["text"] = text
    if seed is not None:
        graph["sample"]["inputs"]["seed"] = seed
    with Client(url) as client:
        run = client.run(graph, timeout=3600, on_event=Progress(graph))
        (video,) = client.files(run, "video")
        frames = [Image.open(io.BytesIO(data)) for data in client.files(run, "frames")]
    used = graph["prompt"]["inputs"]["text"], graph["sample"]["inputs"]["seed"]
    return save(output, *used, video, contact_sheet(frames))


def contact_sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """All frames in reading order, four in a row."""
    rows = -(-len(frames) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, rows * (TILE + GAP) + GAP), PAPER)
    for index, frame in enumerate(frames):
        row, column = divmod(index, COLUMNS)
        tile = frame.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (GAP + column * (TILE + GAP), GAP + row * (TILE + GAP)))
    return sheet


class Progress:
    """Prints which node works and how far it is; in a terminal, one line per node."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self.graph, self.in_terminal, self.last_text = graph, sys.stdout.isatty(), ""

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        node = data.get("node")
        if kind == "executing" and node is not None:
            self._show(self.graph[node]["class_type"])
        elif kind == "progress" and node is not None:
            step = f"{self.graph[node]['class_type']} {data['value']}/{data['max']}"
            self._show(step, again=data["value"] < data["max"])
        elif kind == "executing" and self.in_terminal:
            print(flush=True)

    def _show(self, text: str, again: bool = False) -> None:
        if self.in_terminal:
            same = self.last_text.split()[:1] == text.split()[:1]
            print(("\r" if same or not self.last_text else "\n") + f"  {text}", end="", flush=True)
        elif not again:
            print(f"  {text}", flush=True)
        self.last_text = text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
