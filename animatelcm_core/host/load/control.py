"""Loads a ControlNet or T2I-Adapter through the host."""

from __future__ import annotations

from typing import Any

import comfy.controlnet


def load_control(path: str) -> Any:
    """CONTROL_NET of the file at `path`."""
    return comfy.controlnet.load_controlnet(path)
