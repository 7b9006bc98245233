"""Each workflow of the pack, opened in the real frontend: with its classic nodes and with Nodes 2.0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.client import Client

from frontdoor.server import Server
from tools import workflow_files
from tools.frontend import Frontend, chromium
from tools.workflow_files import VIRTUAL, WorkflowFile

FILES = workflow_files.all_files()
NODES = {"classic nodes": False, "Nodes 2.0": True}
NUMBERS = {"INT": int, "FLOAT": (int, float)}
OF_THE_PAGE = {"video-preview"}  # widgets that only the page knows; they are queued all the same
Info = dict[str, Any]


@pytest.fixture(scope="module", params=list(NODES))
def frontend(request: pytest.FixtureRequest, server: Server, chromium_path: str) -> Iterator[Frontend]:
    """The page, open, with one of the two ways to draw nodes."""
    with chromium(chromium_path, server.url) as frontend:
        frontend.open({"Comfy.VueNodes.Enabled": NODES[request.param]})
        yield frontend


@pytest.fixture(params=FILES, ids=[file.name for file in FILES])
def file(request: pytest.FixtureRequest, frontend: Frontend) -> Iterator[WorkflowFile]:
    """A workflow that is open on the page."""
    frontend.clear_errors()
    frontend.load(request.param.read(), request.param.name)
    yield request.param
    frontend.close_dialogs()


@pytest.fixture(scope="module")
def info(client: Client) -> Info:
    """Every node of the host: its inputs and outputs."""
    return client.object_info()


def inputs_of(info: Info, class_type: str) -> dict[str, Any]:
    """Input name -> its type and options, required and optional ones."""
    declared = info[class_type]["input"]
    return {**declared.get("required", {}), **declared.get("optional", {})}


def queued(form: dict[str, Any], info: Info) -> dict[str, Any]:
    """An API form without titles and without inputs that this host's nodes do not have (Create Video's
    bit_depth came after 0.3.75)."""
    nodes = {}
    for name, node in form.items():
        known = inputs_of(info, node["class_type"])
        inputs = {key: value for key, value in node["inputs"].items() if key in known}
        nodes[name] = {"class_type": node["class_type"], "inputs": inputs}
    return nodes


def test_opens_whole_and_in_silence(frontend: Frontend, file: WorkflowFile, info: Info) -> None:
    nodes = frontend.workflow()["nodes"]
    assert sorted(node["type"] for node in nodes) == sorted(node["type"] for node in file.read()["nodes"])
    assert {node["type"] for node in nodes} <= info.keys() | set(VIRTUAL)
    assert frontend.unknown_nodes() == []
    assert frontend.errors == []


def test_what_run_would_queue_is_the_twin(frontend: Frontend, file: WorkflowFile, info: Info) -> None:
    assert queued(frontend.api_form(), info) == queued(workflow_files.read(file.twin), info)


def test_every_value_fits_its_node(frontend: Frontend, file: WorkflowFile, info: Info) -> None:
    form = frontend.api_form()
    absent = [model["name"] for model in workflow_files.models(file.read())]  # the next test is about them
    for node in form.values():
        declared = inputs_of(info, node["class_type"])
        required = info[node["class_type"]]["input"].get("required", {}).keys()
        assert required <= node["inputs"].keys(), node
        for name, value in node["inputs"].items():
            if name in OF_THE_PAGE:
                continue
            kind, *rest = declared[name]
            wrong = misfit(value, kind, rest[0] if rest else {}, form, info)
            assert wrong is None or value in absent, f"{node['class_type']}.{name}: {wrong}"


def misfit(value: Any, kind: Any, options: dict[str, Any], form: dict[str, Any], info: Info) -> str | None:
    """Why the value, or the link, cannot stand at an input of this kind; None if it can."""
    if isinstance(value, list):
        source, slot = value
        outputs = info[form[source]["class_type"]]["output"]
        return None if outputs[slot] == kind else f"got a link from {outputs[slot]}, expected {kind}"
    if isinstance(kind, str) and kind in NUMBERS:
        fits = isinstance(value, NUMBERS[kind]) and options["min"] <= value <= options["max"]
        return None if fits else f"got {value!r}, expected {options['min']} to {options['max']}"
    if kind == "STRING":
        return None if isinstance(value, str) else f"got {value!r}, expected text"
    if kind == "BOOLEAN":
        return None if isinstance(value, bool) else f"got {value!r}, expected true or false"
    choices = kind if isinstance(kind, list) else options.get("options", [])
    choices = [choice["key"] if isinstance(choice, dict) else choice for choice in choices]
    return None if value in choices else f"got {value!r}, expected one of {choices}"


def test_missing_models_are_named(frontend: Frontend, file: WorkflowFile) -> None:
    models = list(workflow_files.models(file.read()))
    said = frontend.missing_models(expected=bool(models))
    for model in models:
        assert model["name"] in said
        assert model["directory"] in said
    assert bool(said) == bool(models)
    assert "Invalid directory" not in said
