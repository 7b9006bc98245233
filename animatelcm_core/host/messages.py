"""Shows warnings to a person: in the log and, in the browser, on the node."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from .compat import running_server


def log(warnings: Iterable[str]) -> None:
    """One log line per warning."""
    for warning in warnings:
        logging.warning("AnimateLCM: %s", warning)


def show_on_node(node: Any, warnings: Sequence[str]) -> None:
    """Write `warnings` below the widgets of the running `node` (its schema asks for the hidden unique_id)."""
    node_id = getattr(getattr(node, "hidden", None), "unique_id", None)
    if not warnings or node_id is None:
        return
    server = running_server()
    if server is not None:
        server.send_progress_text("\n".join(warnings), node_id)


def warn(node: Any, warnings: Sequence[str]) -> None:
    """Log `warnings` and show them on the running node."""
    log(warnings)
    show_on_node(node, warnings)
