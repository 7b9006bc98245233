"""ComfyUI's own Python in the test process, with the pack loaded by the host's loader.

A process can hold one host only, so there is one object of this kind per test run. Import nothing of ComfyUI
before `boot`: its command line is read on import.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from frontdoor.hosts import Host
from frontdoor.server import PACK, make_base


class Comfy:
    """Handles to a booted ComfyUI: `module("comfy.sd")`, `pack("nodes.inputs")`, `run("KSampler", ...)`."""

    def __init__(self, host: Host, base: Path, nodes: ModuleType) -> None:
        self.host, self.base, self.nodes = host, base, nodes

    def module(self, name: str) -> ModuleType:
        """A module of ComfyUI."""
        return importlib.import_module(name)

    def pack(self, name: str) -> ModuleType:
        """A module of this pack as the host loaded it: `pack("animatelcm_core.schedule")`.

        Not the same objects as those of an absolute import of animatelcm_core, which only unit tests use.
        """
        loaded_as = str(self.base / "custom_nodes" / PACK).replace(".", "_x_")  # nodes.load_custom_node
        return importlib.import_module(f"{loaded_as}.{name}")

    def node(self, node_id: str) -> type:
        """The class of a node, ComfyUI's or ours."""
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]

    def run(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """The outputs of one node, run as the host does: in inference mode, V1 and V3 nodes alike."""
        torch, node = self.module("torch"), self.node(node_id)
        with torch.inference_mode():
            if hasattr(node, "PREPARE_CLASS_CLONE"):  # V3
                node.VALIDATE_CLASS()
                runner = node.PREPARE_CLASS_CLONE(_no_hidden(node))
            else:
                runner = node()
            result = getattr(runner, node.FUNCTION)(**inputs)
            if asyncio.iscoroutine(result):
                result = asyncio.run(result)
        if isinstance(result, dict):
            result = result.get("result", ())
        return tuple(getattr(result, "result", result) or ())

    def models(self, kind: str) -> Path:
        """The folder for model files of a kind, such as checkpoints or animatediff_models."""
        return self.base / "models" / kind


def _no_hidden(node: type) -> Any:
    """No prompt, no unique id: older hosts want an empty dict there, newer ones None."""
    from comfy_api.latest import _io

    return None if hasattr(_io.HiddenHolder, "from_v3_data") else {}


def boot(host: Host, base: Path, *options: str, gpu: bool = False) -> Comfy:
    """Import ComfyUI, for the CPU if not said otherwise, with `base` as its base directory and this pack.

    options: more arguments for main.py.
    """
    make_base(base)
    sys.argv = ["main.py", "--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    sys.argv += [*options] if gpu else ["--cpu", *options]
    sys.path.insert(0, str(host.path))
    importlib.import_module("comfy.options").enable_args_parsing()
    # Before nodes, which puts the folder comfy/ first on sys.path, where `utils` is another module.
    importlib.import_module("utils.extra_config")
    nodes = importlib.import_module("nodes")
    # Some of the host's nodes register with the server's object; it does not listen.
    importlib.import_module("server").PromptServer(asyncio.new_event_loop())

    failed = asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    if failed:
        raise ImportError(f"ComfyUI {host.version} could not load its own nodes: {', '.join(failed)}")
    pack = base / "custom_nodes" / PACK
    if not asyncio.run(nodes.load_custom_node(str(pack))):
        raise ImportError(f"ComfyUI {host.version} could not load the pack, see the log above")
    return Comfy(host, base, nodes)
