"""Shared by the tests that need a real ComfyUI: a server and its client, or ComfyUI in their own process.

Importing this package makes `frontdoor` importable. The repository itself must not be on sys.path here, where
its folder nodes/ would hide ComfyUI's nodes.py. Others of its packages: `make_importable`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def make_importable(package: str) -> None:
    """Put one package of the repository into sys.modules, unless it is there."""
    if package in sys.modules:
        return
    folder = ROOT / package
    spec = importlib.util.spec_from_file_location(
        package, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package {package} in {ROOT}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


make_importable("frontdoor")
