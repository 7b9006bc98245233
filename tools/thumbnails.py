"""The pictures on the cards of the template browser, made from runs in the newest host.

    .venv/bin/python -m tools.thumbnails

Writes workflows/*.jpg. The demo's shows frames of clips that its workflow makes (one row per prompt), the
others' their graph in the real frontend. Run it when the demo model or a workflow has changed.
"""

from __future__ import annotations

import base64
import copy
import html
import io
import sys

from PIL import Image

from frontdoor.api import Client, Prompt

from . import workflow_files
from .frontend import Frontend
from .newest import newest_host, opened
from .workflow_files import VIRTUAL, WorkflowFile

WIDTH, HEIGHT = 720, 540  # of the picture; the card is square, with two lines of text below
DEMO = WorkflowFile("AnimateLCM demo (no downloads)")
CAPTIONS = {
    DEMO.name: ("No downloads", "a small trained model comes with the pack"),
    "AnimateLCM demo, long video (no downloads)": ("Long, no downloads", "windows of 16 frames, averaged"),
    "AnimateLCM controlled video": ("Led by a video", "edges of every frame, ControlNet, 4 steps"),
    "AnimateLCM image to video": ("A picture moves", "4 steps, colours kept"),
    "AnimateLCM long video": ("Any length", "64 frames in overlapping windows"),
    "AnimateLCM video to video": ("A video in your style", "one reference per frame"),
    "AnimateLCM text to video": ("4 steps, 16 frames", "one loader, one prompt, one sampler"),
    "AnimateLCM text to video, your checkpoint": ("Every part open", "your checkpoint, LoRA and sampler"),
}
CLIPS = (("a red fish swimming left", 1), ("a yellow star sleeping", 2), ("a blue crab swimming up", 3))
COLUMNS = 4
MARGIN = 24  # around the nodes, in the graph's units
PAGE = """
<style>
  @font-face {{ font-family: Inter; font-weight: 100 900; src: url(/fonts/inter-latin-normal.woff2); }}
  body {{ margin: 0; width: 720px; height: 720px; background: #141414; font-family: Inter; }}
  .picture {{ width: 720px; height: 540px; background: {shade}, url(data:image/png;base64,{picture});
              background-repeat: no-repeat; background-position: left; background-size: auto {tall}px; }}
  .text {{ height: 180px; background: #1d3444; border-top: 3px solid #3f789e; box-sizing: border-box;
           padding: 32px 36px; color: #fff; }}
  h1 {{ margin: 0; font-size: 56px; font-weight: 650; letter-spacing: -1px; }}
  p {{ margin: 6px 0 0; font-size: 29px; color: #b9d3e4; }}
</style>
<div class="picture"></div><div class="text"><h1>{title}</h1><p>{line}</p></div>
"""


def main() -> int:
    """Exit status 0 when every picture is written."""
    with newest_host() as server:
        clips = draw_clips(server.url)
        with opened(server) as frontend:
            graphs = {file: draw_graph(frontend, file) for file in workflow_files.all_files() if file != DEMO}
            for file, picture in {DEMO: clips, **graphs}.items():
                card(frontend, CAPTIONS[file.name], picture).save(file.picture, quality=88)
                print(file.picture.name)
    return 0


def draw_clips(url: str) -> Image.Image:
    """One row of frames for each of CLIPS, made by the demo's workflow."""
    graph = workflow_files.read(DEMO.twin)
    side = WIDTH // COLUMNS
    sheet = Image.new("RGB", (WIDTH, side * len(CLIPS)))
    with Client(url) as client:
        for row, (text, seed) in enumerate(CLIPS):
            for column, frame in enumerate(_frames(client, graph, text, seed)):
                tile = frame.resize((side - 2, side - 2), Image.Resampling.LANCZOS)
                sheet.paste(tile, (column * side + 1, row * side + 1))
    return sheet


def _frames(client: Client, graph: Prompt, text: str, seed: int) -> list[Image.Image]:
    """COLUMNS frames of the clip, from its first to its last."""
    graph = copy.deepcopy(graph)
    by_type = {node["class_type"]: (name, node["inputs"]) for name, node in graph.items()}
    sampler = by_type["AnimateLCM_Sample"][1]
    sampler["seed"] = seed
    graph[sampler["positive"][0]]["inputs"]["text"] = text
    data = client.files(client.run(graph, timeout=600), by_type["PreviewImage"][0])
    chosen = [data[round(i * (len(data) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]
    return [Image.open(io.BytesIO(content)).convert("RGB") for content in chosen]


def draw_graph(frontend: Frontend, file: WorkflowFile) -> Image.Image:
    """The graph as the frontend draws it: without the notes, and without what stands beside them."""
    workflow = file.read()
    notes = [node for node in workflow["nodes"] if node["type"] in VIRTUAL]
    top = max(node["pos"][1] + node["size"][1] for node in notes)
    groups = [group["bounding"] for group in workflow["groups"] if group["bounding"][1] > top]
    left, right = min(x for x, _, _, _ in groups), max(x + w for x, _, w, _ in groups)
    above, below = min(y for _, y, _, _ in groups), max(y + h for _, y, _, h in groups)
    frontend.load(workflow, file.name)
    frontend.fit()
    area = (left - MARGIN, above - MARGIN, right - left + 2 * MARGIN, below - above + 2 * MARGIN)
    picture = frontend.picture_of(area)
    return Image.open(io.BytesIO(picture)).convert("RGB")


def card(frontend: Frontend, caption: tuple[str, str], picture: Image.Image) -> Image.Image:
    """The square picture of a card, set in the frontend's own type. The page is used up by it."""
    content = io.BytesIO()
    picture.save(content, "png")
    title, line = (html.escape(text) for text in caption)
    page = frontend.page
    page.set_viewport_size({"width": WIDTH, "height": WIDTH})
    page.goto(f"{frontend.url}/system_stats")  # any small page of the server, for its fonts
    wide = picture.width / picture.height > WIDTH / HEIGHT
    page.set_content(
        PAGE.format(
            picture=base64.b64encode(content.getvalue()).decode(),
            # A long graph runs out of the picture on the right, where it fades.
            tall=HEIGHT - 80 if wide else HEIGHT,
            shade="linear-gradient(to right, transparent 75%, #141414 100%)" if wide else "none",
            title=title,
            line=line,
        )
    )
    page.evaluate("() => document.fonts.ready")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
