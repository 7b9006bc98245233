"""The template browser shows the workflows of this pack as cards."""

from __future__ import annotations

import pytest

from frontdoor.server import PACK
from tools import workflow_files
from tools.frontend import Frontend
from tools.workflow_files import WorkflowFile

FILES = workflow_files.all_files()
DEMO = WorkflowFile("AnimateLCM demo (no downloads)")


@pytest.fixture(scope="module")
def templates(frontend: Frontend) -> Frontend:
    """The page with its template browser open at this pack."""
    frontend.page.get_by_text("Templates", exact=True).first.click()
    frontend.page.get_by_role("dialog").get_by_text(PACK).first.click()
    return frontend


def test_each_workflow_has_a_card_with_its_picture(templates: Frontend) -> None:
    for file in FILES:
        card = templates.page.get_by_test_id(f"template-workflow-{file.name}")
        card.scroll_into_view_if_needed()  # the page loads a picture once its card comes into view
        picture = card.locator("img").first
        picture.wait_for(state="visible")
        templates.page.wait_for_function("i => i.complete", arg=picture.element_handle())
        assert picture.evaluate("i => i.naturalWidth") >= 400, file.name
    assert templates.page.locator("[data-testid^='template-workflow-']").count() == len(FILES)


def test_a_card_opens_its_workflow(templates: Frontend) -> None:
    templates.page.get_by_test_id(f"template-workflow-{DEMO.name}").click()
    templates.page.wait_for_function("() => app.graph.nodes.some(n => n.type === 'AnimateLCM_LoadDemo')")
    templates.settle()
    types = {node["class_type"] for node in templates.api_form().values()}
    assert types == {node["class_type"] for node in workflow_files.read(DEMO.twin).values()}
