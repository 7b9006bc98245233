"""Paths of the small world's files in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
RESULTS = ROOT / "docs" / "results" / "shapes"
JUDGE = Path(__file__).with_name("world") / "judge.safetensors"
