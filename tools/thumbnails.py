"""Makes the pictures on the cards of the template browser, from runs in the newest host.

    .venv/bin/python -m tools.thumbnails

Writes workflows/*.jpg. Those of the demos show frames of clips that their workflows make, the others' their
graph in the real frontend. Run it when a demo model or a workflow has changed.
"""

from __future__ import annotations

import base64
import copy
import html
import io
import sys
from collections.abc import Iterator

from PIL import Image

from frontdoor.api import Client, Prompt
from frontdoor.previews import find_node, with_previews

from . import workflow_files
from .frontend import Frontend
from .newest import newest_host, open_page
from .workflow_files import VIRTUAL, WorkflowFile

WIDTH, HEIGHT = 720, 540  # of the picture; the card is square, with two lines of text below
DEMO = WorkflowFile("AnimateLCM demo (no downloads)")
IMAGE = WorkflowFile("AnimateLCM demo, image to video (no downloads)")
CONTROLLED = WorkflowFile("AnimateLCM demo, controlled video (no downloads)")
CAPTIONS = {
    DEMO.name: ("No downloads", "a small trained model comes with the pack"),
    IMAGE.name: ("A picture, no downloads", "left: the picture; then its clip"),
    CONTROLLED.name: ("Hints, no downloads", "a clip, its edges, the clip they lead"),
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
        with Client(server.url) as client:
            pictures = {
                DEMO: sheet(text_rows(client)),
                IMAGE: sheet(image_rows(client)),
                CONTROLLED: sheet(controlled_rows(client)),
            }
        with open_page(server) as frontend:
            for file in workflow_files.all_files():
                if file not in pictures:
                    pictures[file] = draw_graph(frontend, file)
            for file, picture in pictures.items():
                card(frontend, CAPTIONS[file.name], picture).save(file.picture, quality=88)
                print(file.picture.name)
    return 0


def sheet(rows: Iterator[list[Image.Image]]) -> Image.Image:
    """One picture of all rows, COLUMNS tiles each."""
    side = WIDTH // COLUMNS
    tiles = [(row, column, tile) for row, pictures in enumerate(rows) for column, tile in enumerate(pictures)]
    out = Image.new("RGB", (WIDTH, side * (1 + max(row for row, _, _ in tiles))))
    for row, column, tile in tiles:
        small = tile.resize((side - 2, side - 2), Image.Resampling.LANCZOS)
        out.paste(small, (column * side + 1, row * side + 1))
    return out


def text_rows(client: Client) -> Iterator[list[Image.Image]]:
    """A clip of each of CLIPS."""
    graph = with_previews(workflow_files.read(DEMO.twin), {"clip": "AnimateLCM Sample"})
    for text, seed in CLIPS:
        found = run(client, graph, {"Prompt": text}, {"AnimateLCM Sample": seed})
        yield spread(found["clip"], COLUMNS)


def image_rows(client: Client) -> Iterator[list[Image.Image]]:
    """A picture and its clip, of each of CLIPS."""
    graph = with_previews(
        workflow_files.read(IMAGE.twin), {"picture": "The picture", "clip": "Sample: the clip"}
    )
    for text, seed in CLIPS:
        seeds = {"Sample: a clip for its first frame": seed, "Sample: the clip": seed + 10}
        found = run(client, graph, {"Prompt, for both clips": text}, seeds)
        yield [found["picture"][0], *spread(found["clip"], COLUMNS - 1)]


def controlled_rows(client: Client) -> Iterator[list[Image.Image]]:
    """The guiding clip, its hints, and the clip that follows them."""
    titles = {
        "leads": "Sample: the clip that leads",
        "hints": "AnimateLCM Edge Hints",
        "clip": "Sample: the clip",
    }
    found = run(client, with_previews(workflow_files.read(CONTROLLED.twin), titles), {}, {titles["clip"]: 2})
    for name in titles:
        yield spread(found[name], COLUMNS)


def run(
    client: Client, graph: Prompt, texts: dict[str, str], seeds: dict[str, int]
) -> dict[str, list[Image.Image]]:
    """Run the graph with these prompts and seeds (title -> value); the pictures of every previewed node."""
    graph = copy.deepcopy(graph)
    for name, values in (("text", texts), ("seed", seeds)):
        for title, value in values.items():
            graph[find_node(graph, title)]["inputs"][name] = value
    done = client.run(graph, timeout=600)
    return {
        key: [Image.open(io.BytesIO(data)).convert("RGB") for data in client.files(done, key)]
        for key, node in graph.items()
        if node["class_type"] == "PreviewImage"
    }


def spread(clip: list[Image.Image], n: int) -> list[Image.Image]:
    """`n` frames, from the first to the last."""
    return [clip[round(i * (len(clip) - 1) / (n - 1))] for i in range(n)]


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
    """The square picture of a card, set in the frontend's own type. It replaces what the page shows."""
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
