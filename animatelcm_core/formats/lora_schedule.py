"""Tells AnimateLCM's two LCM LoRAs apart: their keys and shapes are the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from .containers.heads import require_file
from .motion_file import SCHEDULE_KEY

_NAMES = {"t2v": "text to video", "i2v": "image to video"}
# Both were published as sd15_lora_beta.safetensors once: size and digest of the first tell them apart.
_TEXT_TO_VIDEO = (134_621_556, "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4")


def lora_schedule(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Name of the schedule that the LoRA was made for: by metadata, file name or the published digest.

    None if none of them says it.
    """
    if SCHEDULE_KEY in metadata:
        return metadata[SCHEDULE_KEY]
    found = {name for sign, name in _NAMES.items() if re.search(rf"(?<![a-z0-9]){sign}", path.name.lower())}
    if len(found) == 1:
        return found.pop()
    size, digest = _TEXT_TO_VIDEO
    require_file(path)
    if path.stat().st_size == size and _digest(path) == digest:
        return _NAMES["t2v"]
    return None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
