"""Loads SD1.5 and demo-size checkpoints; names the file's real kind on failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd

from ...formats import identify, read_tensors, require_file
from .. import folders
from ..advice import ADVICE
from .small_model import is_small, load_small


def load_checkpoint(path: str) -> tuple[Any, Any, Any]:
    """MODEL, CLIP, VAE of the checkpoint at `path`. Raises ValueError naming any other kind of file."""
    require_file(Path(path))
    if is_small(path):
        return load_small(path)
    try:
        loaded = comfy.sd.load_checkpoint_guess_config(path, embedding_directory=folders.places("embeddings"))
    except Exception as error:
        found = identify(read_tensors(path)[0])
        if found.kind == "checkpoint":
            raise
        raise ValueError(
            f"got {found.words} ({Path(path).name}); expected a checkpoint. {ADVICE[found.kind]}"
        ) from error
    return loaded[0], loaded[1], loaded[2]
