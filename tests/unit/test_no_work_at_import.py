"""Importing a module defines things and does nothing else: no call stands alone outside functions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACK = [
    ROOT / "__init__.py",
    *(path for room in ("nodes", "animatelcm_core") for path in sorted((ROOT / room).rglob("*.py"))),
]


def works(source: str) -> list[int]:
    """Lines of the statements that are run on import for what they do."""
    doing = (ast.Expr, ast.For, ast.While, ast.With, ast.Delete, ast.Assert, ast.Raise)
    body = ast.parse(source).body
    return [n.lineno for n in body if isinstance(n, doing) and not _is_text(n)]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("path", PACK, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_pack_does_no_work_at_import(path: Path) -> None:
    assert works(path.read_text(encoding="ascii")) == []


def test_work_is_found() -> None:
    assert works('"""Text."""\nimport x\nx.register()\nfor a in x:\n    a()\n') == [3, 4]
    assert works("def f():\n    g()\nA = dict(b=1)\n") == []
