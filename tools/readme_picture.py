"""Makes the moving picture of the README: text to video, image to video, controlled video and a loop.

    .venv/bin/python -m tools.readme_picture

Runs the workflows of the small demo models in the newest host and writes docs/demo.webp. Run it when a demo
model has changed. Each quarter shows what goes in on the left, and on the right the clip that comes out.
"""

from __future__ import annotations

import io
import math
import sys
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from animatelcm_core.atomic import write_bytes
from frontdoor.api import Client
from frontdoor.previews import find_node, with_previews

from . import workflow_files
from .newest import newest_host
from .thumbnails import CONTROLLED, DEMO, IMAGE, run
from .workflow_files import ROOT, WorkflowFile

PATH = ROOT / "docs" / "demo.webp"
LONG = WorkflowFile("AnimateLCM demo, long video (no downloads)")
FRAMES = 32  # of the loop; the clips of 16 are shown twice
LARGEST = 300_000  # bytes
QUALITIES = (85, 75, 65, 55)

Clip = Sequence[Image.Image]
Cell = tuple[str, str, Clip, Clip]  # title, what it shows, what goes in, what comes out

# In pixels. All is drawn at twice the size and halved: smooth edges without a font's help.
TILE, GAP, MARGIN, HEAD = 176, 28, 18, 34
CELL = (2 * TILE + GAP + 2 * MARGIN, HEAD + TILE + 2 * MARGIN)
DRAWN = 2
PAPER, BOX, INK, FAINT, LIGHT = "#171c21", "#242c34", "#f2f5f7", "#93a3b1", "#5fb0e5"


def main() -> int:
    """Exit status 0 when the picture is written."""
    with newest_host() as server, Client(server.url) as client:
        cells = [text_to_video(client), image_to_video(client), controlled(client), loop(client)]
    content = animated(panels(cells))
    write_bytes(PATH, content)
    print(f"{PATH.relative_to(ROOT)}: {len(content):,} bytes")
    return 0


def text_to_video(client: Client) -> Cell:
    """A prompt, and its clip."""
    text = "a red fish swimming left"
    graph = with_previews(workflow_files.read(DEMO.twin), {"clip": "AnimateLCM Sample"})
    found = run(client, graph, {"Prompt": text}, {"AnimateLCM Sample": 4})
    return "Text to video", "16 frames, 4 steps", [quoted(text)], found["clip"]


def image_to_video(client: Client) -> Cell:
    """A picture, and the clip that begins as it."""
    titles = {"picture": "The picture", "clip": "AnimateLCM Color Align"}
    graph = with_previews(workflow_files.read(IMAGE.twin), titles)
    seeds = {"Sample: a clip for its first frame": 3, "Sample: the clip": 13}
    found = run(client, graph, {"Prompt, for both clips": "a blue crab swimming up"}, seeds)
    return "Image to video", "it begins as the picture", found["picture"], found["clip"]


def controlled(client: Client) -> Cell:
    """Edges of another clip, and the clip that follows them."""
    titles = {"hints": "AnimateLCM Edge Hints", "clip": "Sample: the clip"}
    graph = with_previews(workflow_files.read(CONTROLLED.twin), titles)
    found = run(client, graph, {}, {"Sample: the clip": 2})
    return "Controlled video", "edges of every frame", found["hints"], found["clip"]


def loop(client: Client) -> Cell:
    """A clip in looped windows: the last frame leads into the first."""
    graph = with_previews(workflow_files.read(LONG.twin), {"clip": "AnimateLCM Sample"})
    graph[find_node(graph, "AnimateLCM Empty Video Latent")]["inputs"]["frames"] = FRAMES
    graph[find_node(graph, "AnimateLCM Long Video")]["inputs"]["schedule"] = "looped"
    found = run(client, graph, {"Prompt": "a yellow star swimming left"}, {"AnimateLCM Sample": 1})
    return "A loop", f"{FRAMES} frames, looped windows", [ring(i) for i in range(FRAMES)], found["clip"]


def panels(cells: Sequence[Cell]) -> list[Image.Image]:
    """Every frame of the picture: the cells in two rows."""
    width, height = CELL
    backdrop = Image.new("RGB", (2 * width * DRAWN, 2 * height * DRAWN), PAPER)
    draw = ImageDraw.Draw(backdrop)
    places = [(column * width, row * height) for row in range(2) for column in range(2)]
    for (x, y), (title, line, _into, _out) in zip(places, cells, strict=True):
        write(draw, (x + MARGIN, y + MARGIN + 8), title, 19, INK, "lm")
        write(draw, (x + width - MARGIN, y + MARGIN + 9), line, 14, FAINT, "rm")
        arrow(draw, x + MARGIN + TILE + GAP / 2, y + MARGIN + HEAD + TILE / 2)
    backdrop = backdrop.resize((2 * width, 2 * height), Image.Resampling.LANCZOS)
    return [with_tiles(backdrop, places, cells, number) for number in range(FRAMES)]


def with_tiles(
    backdrop: Image.Image, places: Sequence[tuple[int, int]], cells: Sequence[Cell], number: int
) -> Image.Image:
    """The backdrop with this frame of what goes in and comes out of every cell."""
    frame = backdrop.copy()
    mask = Image.new("L", (TILE * DRAWN, TILE * DRAWN))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *(TILE * DRAWN - 1,) * 2), 10 * DRAWN, 255)
    mask = mask.resize((TILE, TILE), Image.Resampling.LANCZOS)
    for (x, y), (_title, _line, *clips) in zip(places, cells, strict=True):
        for column, clip in enumerate(clips):
            tile = clip[number % len(clip)].resize((TILE, TILE), Image.Resampling.BICUBIC)
            frame.paste(tile, (x + MARGIN + column * (TILE + GAP), y + MARGIN + HEAD), mask)
    return frame


def quoted(text: str) -> Image.Image:
    """A prompt, written in a tile."""
    tile = Image.new("RGB", (TILE * DRAWN, TILE * DRAWN), BOX)
    lines = textwrap.wrap(f'"{text}"', 12)
    for number, line in enumerate(lines):
        height = TILE / 2 + 25 * (number - (len(lines) - 1) / 2)
        write(ImageDraw.Draw(tile), (TILE / 2, height), line, 19, INK, "mm")
    return tile


def ring(now: int) -> Image.Image:
    """The frames of a loop as dots of a circle; the one that is shown is lit."""
    tile = Image.new("RGB", (TILE * DRAWN, TILE * DRAWN), BOX)
    draw = ImageDraw.Draw(tile)
    for number in range(FRAMES):
        angle = 2 * math.pi * number / FRAMES - math.pi / 2
        age = (now - number) % FRAMES  # frames since it was shown: a tail behind the lit one
        radius = 2.5 + 3.5 * max(0.0, 1 - age / 8)
        x, y = (TILE / 2 + 56 * f(angle) for f in (math.cos, math.sin))
        box = [DRAWN * value for value in (x - radius, y - radius, x + radius, y + radius)]
        draw.ellipse(box, fill=LIGHT if age < 8 else FAINT)
    write(draw, (TILE / 2, TILE / 2), f"{now + 1}", 26, INK, "mm")
    return tile


def arrow(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """A small triangle to the right, around a point."""
    draw.polygon([(DRAWN * (x + a), DRAWN * (y + b)) for a, b in ((-4, -7), (6, 0), (-4, 7))], fill=LIGHT)


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, anchor: str
) -> None:
    """Text in Pillow's own font; `anchor` as in ImageDraw.text."""
    font = ImageFont.load_default(size * DRAWN)
    draw.text((at[0] * DRAWN, at[1] * DRAWN), text, fill=colour, font=font, anchor=anchor)


def animated(frames: Sequence[Image.Image]) -> bytes:
    """An animated WebP that repeats, at 8 frames a second: the best quality that LARGEST has room for."""
    content = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=125,
            loop=0,
            quality=quality,
            method=6,
        )
        content = buffer.getvalue()
        if len(content) <= LARGEST:
            break
    return content


if __name__ == "__main__":
    sys.exit(main())
