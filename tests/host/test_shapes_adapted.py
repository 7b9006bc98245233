"""The demos of image to video and controlled video in a real ComfyUI: the second clip keeps what leads it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from support.client import Client
from support.shapes import COLOURS, RESULTS, as_clip, asked, caption, read

from frontdoor.previews import find_node, with_previews


def recorded(name: str) -> dict[str, dict[str, Any]]:
    """Rows of a result file by their names."""
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="ascii"))["rows"]
    return {row["row"]: row for row in rows}


TWINS = Path(__file__).resolve().parents[1] / "api"
CLIPS = 20


def demo(name: str) -> dict[str, Any]:
    """The graph of a demo workflow."""
    return json.loads((TWINS / f"AnimateLCM demo, {name} (no downloads).json").read_text(encoding="ascii"))


def test_a_clip_begins_as_its_picture(client: Client, tmp_path: Path) -> None:
    graph = demo("image to video")
    first, second = (
        find_node(graph, "Sample: a clip for its first frame"),
        find_node(graph, "Sample: the clip"),
    )
    prompt = find_node(graph, "Prompt, for both clips")
    graph = with_previews(graph, {"picture": "The picture", "clip": "Sample: the clip"})
    labels, texts = asked(CLIPS)
    pictures, clips = [], []
    for i, text in enumerate(texts):
        graph[prompt]["inputs"]["text"] = text
        graph[first]["inputs"]["seed"], graph[second]["inputs"]["seed"] = 920_000 + i, 930_000 + i
        run = client.run(copy.deepcopy(graph))
        pictures.append(as_clip(client.images(run, "picture"))[:1])
        clips.append(as_clip(client.images(run, "clip")))
    given = read(torch.stack(pictures), labels, tmp_path)
    found = read(torch.stack(clips), labels, tmp_path)
    measured = recorded("i2v")["image_to_video, named"]
    place = (found["centre"][:, 0] - given["centre"][:, 0]).norm(dim=-1)
    assert float(place.mean()) <= 4
    colour = (found["rgb"] - given["rgb"]).abs().mean()
    assert float(colour) <= 1.5 * measured["colour"]
    assert float(found["motion"].mean()) >= measured["motion"] - 0.2


def test_a_clip_goes_where_its_hints_go(client: Client, tmp_path: Path) -> None:
    """A creature of another colour in the silhouette of the clip that leads."""
    graph = demo("controlled video")
    first, second = find_node(graph, "Sample: the clip that leads"), find_node(graph, "Sample: the clip")
    lead, prompt = find_node(graph, "Prompt: the clip that leads"), find_node(graph, "Prompt: the clip")
    graph = with_previews(graph, {"leading": "Sample: the clip that leads", "clip": "Sample: the clip"})
    labels, _ = asked(CLIPS)
    others = [(body, (colour + 3) % len(COLOURS), motion) for body, colour, motion in labels]
    leading, clips = [], []
    for i, (label, other) in enumerate(zip(labels, others, strict=True)):
        graph[lead]["inputs"]["text"], graph[prompt]["inputs"]["text"] = caption(label), caption(other)
        graph[first]["inputs"]["seed"], graph[second]["inputs"]["seed"] = 940_000 + i, 950_000 + i
        run = client.run(copy.deepcopy(graph))
        leading.append(as_clip(client.images(run, "leading")))
        clips.append(as_clip(client.images(run, "clip")))
    hinted = read(torch.stack(leading), labels, tmp_path)["mask"].bool()
    found = read(torch.stack(clips), others, tmp_path)
    mask = found["mask"].bool()
    overlap = (mask & hinted).sum((2, 3)) / (mask | hinted).sum((2, 3)).clamp_min(1)
    elsewhere = (mask & hinted.roll(1, 0)).sum((2, 3)) / (mask | hinted.roll(1, 0)).sum((2, 3)).clamp_min(1)
    measured = recorded("control")["t2i_adapter_after"]
    assert float(overlap.mean()) >= measured["overlap"] - 0.1
    assert float(overlap.mean()) > float(elsewhere.mean()) + 0.3
    assert float(found["colour"].mean()) >= measured["colour"] - 0.15
