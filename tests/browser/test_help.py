"""Pages of help: they open from the node, and every node of the pack has one."""

from __future__ import annotations

from support.client import Client

from frontdoor.server import PACK
from tools.frontend import Frontend
from tools.workflow_files import ROOT, WorkflowFile

DEMO = WorkflowFile("AnimateLCM demo (no downloads)")


def test_help_opens_from_the_node(frontend: Frontend) -> None:
    frontend.load(DEMO.read(), DEMO.name)
    frontend.select("AnimateLCM_LoadDemo")
    frontend.page.get_by_test_id("info-button").click()
    page = frontend.page.locator(".node-help-content")
    source = (ROOT / "web/docs/AnimateLCM_LoadDemo.md").read_text(encoding="utf-8").split("\n\n")
    page.get_by_role("heading", name=source[0].removeprefix("# "), exact=True).wait_for(state="visible")
    assert " ".join(source[1].split()) in " ".join(page.inner_text().split())


def test_every_node_has_a_page_of_help(client: Client) -> None:
    ours = [name for name in client.object_info() if name.startswith("AnimateLCM_")]
    assert len(ours) >= 9
    for name in ours:
        text = client.get_bytes(f"/extensions/{PACK}/docs/{name}.md").decode()
        assert text.startswith("# AnimateLCM "), name
