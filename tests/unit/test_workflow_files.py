"""The workflow files themselves: complete, tidy, and honest about the models they need."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from PIL import Image

from tools import workflow_files
from tools.workflow_files import TWINS, VIRTUAL, WORKFLOWS, WorkflowFile

NAMES = {
    "AnimateLCM controlled video",
    "AnimateLCM demo (no downloads)",
    "AnimateLCM demo, controlled video (no downloads)",
    "AnimateLCM demo, image to video (no downloads)",
    "AnimateLCM demo, long video (no downloads)",
    "AnimateLCM image to video",
    "AnimateLCM long video",
    "AnimateLCM text to video",
    "AnimateLCM text to video, your checkpoint",
    "AnimateLCM video to video",
}
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
FOLDERS = {"checkpoints", "loras", "animatediff_models", "controlnet"}
BYPASSED = 4  # mode of a node that is there to be switched on
UNPUBLISHED = {"AnimateLCM_ControlLoRA"}  # such a node: nobody has published a file for it
PAGE = r"https://huggingface\.co/[\w-]+/[\w.-]+"
TITLE = 30  # height of a node's title, above its pos

Box = tuple[float, float, float, float]


@pytest.fixture(params=sorted(NAMES))
def file(request: pytest.FixtureRequest) -> WorkflowFile:
    return WorkflowFile(request.param)


@pytest.fixture
def workflow(file: WorkflowFile) -> dict[str, Any]:
    return file.read()


def test_every_workflow_has_its_picture_and_its_twin():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == NAMES
    assert {path.stem for path in WORKFLOWS.glob("*.jpg")} == NAMES
    assert {path.stem for path in TWINS.glob("*.json")} == NAMES
    assert len(list(WORKFLOWS.iterdir())) == 2 * len(NAMES), "every JSON here is a card"


def test_picture_fits_a_card(file: WorkflowFile):
    with Image.open(file.picture) as picture:
        assert picture.format == "JPEG"
        assert picture.width == picture.height >= 512
    assert file.picture.stat().st_size < 250_000


def test_format(workflow: dict[str, Any]):
    assert workflow["version"] == 0.4
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", workflow["id"])
    assert int(workflow["id"].replace("-", ""), 16) != 0
    assert "ds" not in workflow["extra"], "a saved view hides parts of the graph on a small window"
    for node in workflow["nodes"]:
        assert node["mode"] == (BYPASSED if node["type"] in UNPUBLISHED else 0)


def test_links_join_slots_of_one_type(workflow: dict[str, Any]):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    numbers = [link[0] for link in workflow["links"]]
    slots = [slot["link"] for node in nodes.values() for slot in node["inputs"] if slot.get("link")]
    assert sorted(slots) == sorted(numbers)
    for number, source, out, target, into, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[source]["outputs"][out]["type"] == kind
        assert nodes[target]["inputs"][into]["link"] == number
        assert nodes[target]["inputs"][into]["type"] == kind
    assert workflow["last_link_id"] >= max(numbers)
    assert workflow["last_node_id"] >= max(nodes)


def test_twin_has_the_same_nodes(file: WorkflowFile, workflow: dict[str, Any]):
    left_out = {*VIRTUAL, *UNPUBLISHED}
    queued = {str(node["id"]): node["type"] for node in workflow["nodes"] if node["type"] not in left_out}
    twin = workflow_files.read(file.twin)
    assert {name: node["class_type"] for name, node in twin.items()} == queued


def test_nodes_say_which_pack_they_are_from(workflow: dict[str, Any]):
    for node in workflow["nodes"]:
        if node["type"] not in VIRTUAL:
            ours = node["type"].startswith("AnimateLCM_")
            assert node["properties"]["cnr_id"] == ("animatelcm" if ours else "comfy-core")
            assert re.fullmatch(r"\d+\.\d+\.\d+", node["properties"]["ver"])


def test_missing_models_can_be_fetched(workflow: dict[str, Any]):
    for node in workflow["nodes"]:
        if node["type"] in UNPUBLISHED:
            continue
        told = {model["name"]: model for model in node["properties"].get("models", [])}
        values = [v for v in node["widgets_values"] if isinstance(v, str) and node["type"] not in VIRTUAL]
        assert told.keys() == {value for value in values if value.endswith(MODEL_SUFFIXES)}, node["type"]
        for name, model in told.items():
            assert model["directory"] in FOLDERS
            assert re.fullmatch(rf"{PAGE}/resolve/main/{re.escape(name)}", model["url"])


def test_notes_link_every_model(workflow: dict[str, Any]):
    notes = [node for node in workflow["nodes"] if node["type"] in VIRTUAL]
    assert notes[0]["title"] == "Start here"
    text = "\n".join(note["widgets_values"][0] for note in notes)
    for model in workflow_files.models(workflow):
        assert f"[{model['name']}]({model['url']})" in text
        assert f"`{model['directory']}`" in text


def box(node: dict[str, Any]) -> Box:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def frame(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a: Box, b: Box) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def test_nothing_lies_over_anything(workflow: dict[str, Any]):
    frames = [frame(group) for group in workflow["groups"]]
    notes = [box(node) for node in workflow["nodes"] if node["type"] in VIRTUAL]
    nodes = [box(node) for node in workflow["nodes"] if node["type"] not in VIRTUAL]
    for a, b in [*combinations(nodes, 2), *combinations([*frames, *notes], 2)]:
        assert not overlap(a, b), (a, b)
    for node in nodes:
        assert sum(inside(node, around) for around in frames) == 1, node
