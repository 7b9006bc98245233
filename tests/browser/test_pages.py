"""What the frontend shows of this pack beside its nodes: cards in the template browser, pages of help."""

from __future__ import annotations

import pytest
from support.client import Client

from frontdoor.server import PACK
from tools import workflow_files
from tools.frontend import Frontend
from tools.workflow_files import ROOT, WorkflowFile

FILES = workflow_files.all_files()
DEMO = WorkflowFile("AnimateLCM demo (no downloads)")


@pytest.fixture
def templates(frontend: Frontend) -> Frontend:
    """The page with its template browser open at this pack."""
    frontend.page.get_by_text("Templates", exact=True).first.click()
    frontend.page.get_by_role("dialog").get_by_text(PACK, exact=False).first.click()
    return frontend


def test_each_workflow_has_a_card_with_its_picture(templates: Frontend) -> None:
    for file in FILES:
        card = templates.page.get_by_test_id(f"template-workflow-{file.name}")
        picture = card.locator("img").first
        picture.wait_for(state="visible")
        templates.page.wait_for_function("i => i.complete", arg=picture.element_handle())
        assert picture.evaluate("i => i.naturalWidth") >= 400, file.name
    assert templates.page.locator("[data-testid^='template-workflow-']").count() == len(FILES)
    templates.close_dialogs()


def test_a_card_opens_its_workflow(templates: Frontend) -> None:
    templates.page.get_by_test_id(f"template-workflow-{DEMO.name}").click()
    templates.page.wait_for_function("() => app.graph.nodes.some(n => n.type === 'AnimateLCM_LoadDemo')")
    templates.settle()
    types = {node["class_type"] for node in templates.api_form().values()}
    assert types == {node["class_type"] for node in workflow_files.read(DEMO.twin).values()}


def test_help_opens_from_the_node(frontend: Frontend) -> None:
    frontend.load(DEMO.read(), DEMO.name)
    frontend.close_dialogs()
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
