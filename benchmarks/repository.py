"""Lets benchmarks inside a ComfyUI process import this repository, and writes their results.

The root of the repository is not put on sys.path: its nodes/ would hide ComfyUI's nodes.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
sys.path.append(str(ROOT / "tests" / "host"))

from support import make_importable  # noqa: E402

for _package in ("animatelcm_core", "tools", "training"):
    make_importable(_package)

from animatelcm_core.atomic import write_text  # noqa: E402


def write_result(path: Path, result: Any) -> None:
    """Write `result` as JSON, in ASCII."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result, indent=1) + "\n")
