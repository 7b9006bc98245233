"""Saves the demo's clips, so that no clip takes the place of another. Runs in .venv (Pillow)."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

LONGEST = 60  # letters of the prompt
PROMPT = "prompt"  # the text in a contact sheet that says what it was made from


def save(output: Path, text: str, seed: int, video: bytes, sheet: Image.Image) -> list[Path]:
    """Write clip and contact sheet; returns their paths. Only a clip of the same prompt is replaced."""
    output.mkdir(parents=True, exist_ok=True)
    clip, picture = free_name(output, text, seed)
    note, data = PngInfo(), io.BytesIO()
    note.add_text(PROMPT, mark(text))
    sheet.save(data, "png", pnginfo=note)
    # The sheet first: it says whose the name is, should the clip not be written.
    for path, content in ((picture, data.getvalue()), (clip, video)):
        aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    return [clip, picture]


def free_name(output: Path, text: str, seed: int) -> tuple[Path, Path]:
    """Paths for clip and sheet that are free, or of the same prompt: plain, with a digest, with a number."""
    name, exact = file_name(text, seed), f"{words(text) or 'clip'}-{digest(text)}-seed{seed}"
    number = 1
    while True:
        clip, picture = output / f"{name}.mp4", output / f"{name}.png"
        if _made_from(picture, text) or not (os.path.lexists(clip) or os.path.lexists(picture)):
            return clip, picture
        number, name = number + 1, exact if name != exact and number == 1 else f"{exact}-{number}"


def file_name(text: str, seed: int) -> str:
    """A file name from prompt and seed, which together determine the clip.

    Letters other than a to z, a prompt without any and a long one are lost in it: a digest tells those apart.
    """
    kept = words(text)
    lost = not kept or not text.isascii() or len(_plain(text)) > LONGEST
    return f"{kept or 'clip'}{'-' + digest(text) if lost else ''}-seed{seed}"


def words(text: str) -> str:
    """The prompt's plain letters and digits, cut to a length that every file system takes."""
    return _plain(text)[:LONGEST].strip("-")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def digest(text: str) -> str:
    """Eight letters that tell prompts apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def mark(text: str) -> str:
    """The prompt as a contact sheet carries it: ASCII, so that every prompt can be written."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _made_from(picture: Path, text: str) -> bool:
    try:
        with Image.open(picture) as sheet:
            return sheet.info.get(PROMPT) == mark(text)
    except (OSError, ValueError, SyntaxError):
        return False
