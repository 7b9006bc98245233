"""The demo workflow as a person meets it: open, press Run, watch."""

from __future__ import annotations

import pytest
from support.client import Client

from tools.frontend import Frontend
from tools.workflow_files import WorkflowFile

DEMO = WorkflowFile("AnimateLCM demo (no downloads)")
SECONDS, PIXELS = 16 / 8, 512


@pytest.fixture(scope="module")
def finished(frontend: Frontend) -> str:
    """How the run ended that the button started."""
    frontend.load(DEMO.read(), DEMO.name)
    frontend.clear_errors()
    return frontend.press_run()


def test_run_button_makes_a_clip(frontend: Frontend, finished: str) -> None:
    assert finished == "execution_success", frontend.errors
    assert frontend.errors == []


def test_video_stands_on_the_page_and_plays(frontend: Frontend, finished: str) -> None:
    video = frontend.page.locator("video").first
    video.wait_for(state="visible")
    frontend.page.wait_for_function("() => document.querySelector('video').readyState >= 3")
    shown = video.evaluate("v => ({width: v.videoWidth, height: v.videoHeight, seconds: v.duration})")
    assert shown == {"width": PIXELS, "height": PIXELS, "seconds": pytest.approx(SECONDS, abs=0.01)}
    video.evaluate("v => { v.muted = true; return v.play(); }")
    frontend.page.wait_for_function("() => document.querySelector('video').currentTime > 0.5")


def test_frames_stand_on_their_node(frontend: Frontend, finished: str) -> None:
    count = "() => app.graph.nodes.find(n => n.type === 'PreviewImage').imgs.length"
    frontend.page.wait_for_function(f"() => ({count})() === 16")
    sizes = "() => app.graph.nodes.find(n => n.type === 'PreviewImage').imgs.map(i => i.naturalWidth)"
    assert set(frontend.page.evaluate(sizes)) == {64}


def test_server_kept_the_file(client: Client, finished: str) -> None:
    (run,) = client.get("/history").values()
    (video,) = (
        output["images"] for output in run["outputs"].values() if output.get("animated") and output["images"]
    )
    data = client.get_bytes("/view", **{key: video[0][key] for key in ("filename", "subfolder", "type")})
    assert data[4:8] == b"ftyp"
