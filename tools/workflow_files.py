"""Finds the workflows of this pack, reads and writes them, and lists the models they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from animatelcm_core.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS, TWINS = ROOT / "workflows", ROOT / "tests" / "api"
MEDIA = ("LoadImage", "LoadVideo")  # nodes whose first value is a file of the user's in input/
VIRTUAL = ("MarkdownNote",)  # nodes that only the page knows; they are not queued


@dataclass(frozen=True)
class WorkflowFile:
    """One workflow: `name`.json and its picture in workflows/, its API form in tests/api/."""

    name: str

    @property
    def path(self) -> Path:
        """UI format, version 0.4."""
        return WORKFLOWS / f"{self.name}.json"

    @property
    def picture(self) -> Path:
        """What the card in the template browser shows."""
        return WORKFLOWS / f"{self.name}.jpg"

    @property
    def twin(self) -> Path:
        """API format, as the frontend of the newest supported host makes it from `path`."""
        return TWINS / f"{self.name}.json"

    def read(self) -> dict[str, Any]:
        """The workflow in UI format."""
        return read(self.path)


def all_files() -> list[WorkflowFile]:
    """Every workflow of the pack, by name."""
    return [WorkflowFile(path.stem) for path in sorted(WORKFLOWS.glob("*.json"))]


def read(path: Path) -> dict[str, Any]:
    """The JSON in `path`."""
    return json.loads(path.read_text(encoding="ascii"))


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON as ASCII: ComfyUI opens such files with the platform's encoding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + "\n")


def models(workflow: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The model files that the workflow links to: name, url, directory."""
    for node in workflow["nodes"]:
        yield from node["properties"].get("models", [])


def place_empty_models(workflow: dict[str, Any], base: Path) -> None:
    """Put empty files of the right names below `base`/models, so that the nodes list them."""
    for model in models(workflow):
        path = base / "models" / model["directory"] / model["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def place_media(workflow: dict[str, Any], base: Path) -> None:
    """Put a small picture or video in `base`/input for each that the workflow names."""
    for node in workflow["nodes"]:
        if node["type"] in MEDIA:
            path = base / "input" / node["widgets_values"][0]
            path.parent.mkdir(parents=True, exist_ok=True)
            if node["type"] == "LoadImage":
                _picture(0).save(path)
            else:
                _write_video(path)


def _picture(frame: int, side: int = 64) -> Image.Image:
    """A square that moves to the right."""
    picture = Image.new("RGB", (side, side), "navy")
    picture.paste("orange", (8 + frame, 20, 28 + frame, 44))
    return picture


def _write_video(path: Path, frames: int = 20, fps: int = 8) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("h264", rate=fps)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(_picture(frame))))
        container.mux(stream.encode())
