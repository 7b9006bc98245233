"""ComfyUI's own web interface in headless Chromium: opens workflows, reads them back, presses buttons.

Used by tests/browser and tools/export_workflows.py. Needs playwright and a Chromium on this machine.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Saved for the user before the page opens, so that nothing lies over the graph.
SETTINGS: dict[str, Any] = {
    "Comfy.TutorialCompleted": True,  # no template browser on the first visit
    "Comfy.VueNodes.Enabled": False,  # nodes drawn on the canvas, which both ends of the supported range do
    "Comfy.Minimap.Visible": False,
    "Comfy.Canvas.NavigationMode": "standard",
}
PATIENCE_MS = 120_000
RUN_MS = 600_000  # a run of a small model, on a busy machine


class Frontend:
    """One page of the web interface of the server at `url`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []  # of the page's scripts, since `open` or `clear_errors`
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        # Release notes and file sizes on other machines: the page must work without them.
        page.route(lambda address: not address.startswith(url), _nothing_there)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, settings: dict[str, Any] | None = None) -> None:
        """Load the page and wait until it is ready; `settings` are saved for the user first."""
        for name, value in {**SETTINGS, **(settings or {})}.items():
            self._post(f"/settings/{name}", value)
        self.page.goto(self.url)
        self.page.wait_for_function("window.app && window.app.extensionManager && window.app.graph")
        # The page opens a graph of its own and reads the user's settings; both must be over.
        self.page.wait_for_function("window.app.graph.nodes.length > 0")
        self.page.wait_for_load_state("networkidle")
        self.clear_errors()

    def _post(self, path: str, value: Any) -> None:
        body = json.dumps(value).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(request, timeout=60).close()

    def clear_errors(self) -> None:
        """Forget the errors so far."""
        self.errors.clear()

    def load(self, workflow: dict[str, Any], name: str) -> None:
        """Open a workflow in UI format, as a file dropped on the page is opened."""
        self.page.evaluate("([w, name]) => window.app.loadGraphData(w, true, true, name)", [workflow, name])
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn: requests have ended, and two frames have passed."""
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def workflow(self) -> dict[str, Any]:
        """The open graph in UI format, as the menu's Export saves it."""
        return self._graph("workflow")

    def api_form(self) -> dict[str, Any]:
        """The open graph in API format: exactly what Run queues."""
        return self._graph("output")

    def _graph(self, part: str) -> dict[str, Any]:
        # As text, as the page itself writes it: what is undefined there has no place in the file.
        script = "async part => JSON.stringify((await window.app.graphToPrompt())[part])"
        return json.loads(self.page.evaluate(script, part))

    def unknown_nodes(self) -> list[str]:
        """Types in the open graph that the page has no node for."""
        return self.page.evaluate(
            "() => app.graph.nodes.map(n => n.type).filter(t => !(t in LiteGraph.registered_node_types))"
        )

    def missing_models(self, expected: bool) -> str:
        """What the page says about model files that are not there, empty if nothing.

        Newer pages tell it beside the graph, older ones in a dialog. `expected`: wait until they do.
        """
        dialog = self.page.locator(".comfy-missing-models")
        errors = self.page.get_by_test_id("error-overlay-see-errors")
        panel = self.page.get_by_test_id("error-group-missing-model")
        if expected:
            dialog.or_(errors).or_(panel).first.wait_for(state="visible")
        else:
            self.page.wait_for_timeout(1500)
        if errors.is_visible():
            errors.click()
            panel.wait_for(state="visible")
        return "\n".join([*dialog.all_inner_texts(), *panel.all_inner_texts()])

    def close_dialogs(self) -> None:
        """Close dialogs over the graph with the Escape key."""
        dialogs = self.page.get_by_role("dialog")
        for _ in range(5):
            if dialogs.count() == 0:
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(500)
        raise RuntimeError(f"these dialogs stay open: {dialogs.all_inner_texts()}")

    def press_run(self) -> str:
        """Press the Run button; returns the message that ends the run, execution_success if all went well."""
        ends = ["execution_success", "execution_error", "execution_interrupted"]
        script = """ends => {
            window.ended = null;
            for (const end of ends) window.app.api.addEventListener(end, () => { window.ended ??= end; });
        }"""
        self.page.evaluate(script, ends)
        self.page.get_by_test_id("queue-button").click()
        return self.page.wait_for_function("() => window.ended", timeout=RUN_MS).json_value()

    def select(self, node_type: str) -> None:
        """Click the first node of this type on its title, as a person selects it."""
        script = "type => { const n = app.graph.nodes.find(n => n.type === type); return [...n.pos]; }"
        x, y = self.page.evaluate(script, node_type)
        self.page.mouse.click(*self.on_screen(x + 100, y - 15))

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the graph is on the page."""
        script = """([x, y]) => {
            const canvas = window.app.canvas, box = canvas.canvas.getBoundingClientRect();
            const [left, top] = canvas.ds.convertOffsetToCanvas([x, y]);
            return [box.left + left, box.top + top];
        }"""
        left, top = self.page.evaluate(script, [x, y])
        return left, top

    def picture_of(self, area: tuple[float, float, float, float]) -> bytes:
        """A PNG of a part of the graph: x, y, width, height there. It must be in view."""
        x, y, width, height = area
        (left, top), (right, bottom) = self.on_screen(x, y), self.on_screen(x + width, y + height)
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        return self.page.screenshot(clip=clip)  # type: ignore[arg-type]

    def fit(self) -> None:
        """Bring the whole graph into view."""
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(500)  # the view glides there
        self.settle()


@contextmanager
def chromium(executable: str, url: str, size: tuple[int, int] = (1600, 1000)) -> Iterator[Frontend]:
    """`with chromium("/usr/bin/chromium", server.url) as frontend:` a page that is not open yet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            yield Frontend(page, url)
        finally:
            browser.close()


def _nothing_there(route: Route) -> None:
    route.fulfill(status=200, content_type="application/json", body="{}")
