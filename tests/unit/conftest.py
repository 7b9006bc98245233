"""Unit tests see the repository root and tests/support as import roots; ComfyUI is not on the path here."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
