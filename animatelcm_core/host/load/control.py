"""Loads a ControlNet or T2I-Adapter through the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.controlnet

from ...formats import require_file


def load_control(path: str) -> Any:
    """CONTROL_NET of the file at `path`."""
    require_file(Path(path))
    return comfy.controlnet.load_controlnet(path)
