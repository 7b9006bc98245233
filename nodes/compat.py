"""The only place that asks which host this is: ComfyUI 0.3.75 to 0.30.0 know different schema arguments."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io


def schema(node_id: str, **fields: Any) -> io.Schema:
    """A node schema from the fields that the running host knows; others (search_aliases, ...) are dropped."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(node_id=node_id, **{name: value for name, value in fields.items() if name in known})


def widget(kind: Any, name: str, **arguments: Any) -> Any:
    """An input such as `io.Int.Input` from the arguments that the running host knows."""
    known = inspect.signature(kind.Input.__init__).parameters
    return kind.Input(name, **{key: value for key, value in arguments.items() if key in known})


def output(kind: Any, label: str, tooltip: str) -> Any:
    """An output without an id: ids of inputs and outputs must differ on 0.3.75, and labels may not."""
    return kind.Output(display_name=label, tooltip=tooltip)
