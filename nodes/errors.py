"""Warnings where a person sees them: in the log and, in the browser, on the node."""

from __future__ import annotations

import logging
from typing import Any


def show_on_node(node: Any, warnings: list[str]) -> None:
    """Write `warnings` below the widgets of the running `node` (its schema asks for the hidden unique_id)."""
    node_id = getattr(getattr(node, "hidden", None), "unique_id", None)
    if not warnings or node_id is None:
        return
    from server import PromptServer  # only there while a server runs

    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_progress_text("\n".join(warnings), node_id)


def warn(node: Any, warnings: list[str]) -> None:
    """Log `warnings` and show them on the running node."""
    for warning in warnings:
        logging.warning("AnimateLCM: %s", warning)
    show_on_node(node, warnings)
