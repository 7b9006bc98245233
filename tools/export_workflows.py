"""Exports the workflows anew: opens each in the real frontend of the newest host, writes what it saves.

    .venv/bin/python -m tools.export_workflows

Run it after a change of a node. To change a workflow: edit it in ComfyUI, export it over its file, run this.
Writes workflows/*.json (UI format) and tests/api/*.json (API format). The pictures: tools/thumbnails.py.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from frontdoor.problem import Problem

from . import workflow_files
from .frontend import Frontend
from .newest import newest_host, open_page
from .workflow_files import ROOT, VIRTUAL


def main() -> int:
    """Exit status 0 when every file is written."""
    with newest_host() as server, open_page(server) as frontend:
        for file in workflow_files.all_files():
            export(frontend, file, server.host.version)
            print(file.name)
    return 0


def export(frontend: Frontend, file: workflow_files.WorkflowFile, host_version: str) -> None:
    """Open the workflow, and write both of its forms."""
    before = file.read()
    frontend.load(before, file.name)
    workflow_files.write(file.path, tidy(frontend.workflow(), before, host_version))
    workflow_files.write(file.twin, frontend.api_form())


def tidy(workflow: dict[str, Any], before: dict[str, Any], host_version: str) -> dict[str, Any]:
    """What the frontend saved, with the layout as it was in `before` and each node's pack named.

    Opening changes the size of some nodes (Save Video shrinks). Without a saved view the page shows the whole
    graph, whatever the size of the window.
    """
    layout = {node["id"]: node for node in before["nodes"]}
    for node in workflow["nodes"]:
        node["pos"], node["size"] = layout[node["id"]]["pos"], layout[node["id"]]["size"]
        if node["type"] not in VIRTUAL:
            ours = node["type"].startswith("AnimateLCM_")
            name, version = ("animatelcm", pack_version()) if ours else ("comfy-core", host_version)
            node["properties"] |= {"Node name for S&R": node["type"], "cnr_id": name, "ver": version}
    workflow["extra"].pop("ds", None)
    return workflow


def pack_version() -> str:
    """The version in pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    if found is None:
        raise Problem("got a pyproject.toml without a line version = ..., expected one.")
    return found.group(1)


if __name__ == "__main__":
    sys.exit(main())
