"""The imports of a Python tree, read from its sources: nothing is imported to be read.

Imports inside functions count. So do the names in `import_module("...")`, and in `"-m", "..."` of a command
line, where they are written out. A room is a folder; where a folder holds other folders, each of its files is
a room of its own.
"""

from __future__ import annotations

import ast
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SITE, PYTHON, HOST = "packages", "python", "ComfyUI"
# The top-level modules of a ComfyUI. `nodes` without a dot is ComfyUI's, ours is imported as `.nodes`.
HOST_MODULES = frozenset(
    "alembic_db api_server app comfy comfy_api comfy_api_nodes comfy_config comfy_execution comfy_extras "
    "comfyui_version cuda_malloc execution folder_paths hook_breaker_ac10a0 latent_preview main middleware "
    "new_updater node_helpers nodes protocol server utils".split()
)
SKIPPED = frozenset({"output", "runs", "__pycache__"})  # and all folders with a dot
SCRIPT_FOLDERS = ("benchmarks", "tests/host", "tests/support")  # scripts and tests put them on sys.path
Graph = Mapping[str, Collection[str]]  # a file or room -> those that it imports


@dataclass(frozen=True)
class Arrow:
    """`source` imports `target` in this line; `run`: as another process, with `python -m`."""

    source: str
    line: int
    target: str
    run: bool = False


@dataclass
class Tree:
    """The Python files of a repository by their paths without .py, and what is in them."""

    files: dict[str, ast.Module]
    arrows: list[Arrow] = field(default_factory=list)

    def find(self, dotted: str) -> str | None:
        """The file of a module or package of this name, seen from the root."""
        path = dotted.replace(".", "/")
        return next((p for p in (path, f"{path}/__init__".lstrip("/")) if p in self.files), None)


def read(root: Path) -> Tree:
    """Read all imports below `root`."""
    tree = Tree({})
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".py"):
                file = Path(folder) / name
                path = file.relative_to(root).as_posix().removesuffix(".py")
                tree.files[path] = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for source, module in tree.files.items():
        tree.arrows += dict.fromkeys(imports_of(tree, source, module))
    return tree


def imports_of(tree: Tree, source: str, module: ast.Module) -> Iterator[Arrow]:
    """The arrows out of one file, in the order of a walk."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(source, node.lineno, resolve(tree, alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(source, node.module or "", node.level)
            for alias in node.names:
                yield Arrow(source, node.lineno, resolve(tree, base, alias.name, own=node.level > 0))
        elif (
            isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__") and node.args
        ):
            if name := literal(node.args[0]):
                level = len(name) - len(name.lstrip("."))
                package = literal(node.args[1]).replace(".", "/") if len(node.args) > 1 else ""
                base = absolute(f"{package}/" if package else source, name.lstrip("."), level)
                yield Arrow(source, node.lineno, resolve(tree, base, own=level > 0))
        for line, name in run_modules(node):
            target = tree.find(f"{name}.__main__") or resolve(tree, name)
            if not below(target, (SITE, PYTHON)):  # another program's business
                yield Arrow(source, line, target, run=True)


def absolute(source: str, name: str, level: int) -> str:
    """The dotted name seen from the root; the pack's own root is ''."""
    if level == 0:
        return name
    above = source.split("/")[:-level]
    return ".".join([*above, *filter(None, [name])])


def resolve(tree: Tree, name: str, attribute: str = "", own: bool = False) -> str:
    """What `import name` or `from name import attribute` means: a file of the tree, or a path elsewhere."""
    top = name.partition(".")[0]
    if not own and top in sys.stdlib_module_names:
        return "/".join([PYTHON, *name.split("."), *filter(None, [attribute])])
    if not own and top in HOST_MODULES:
        return "/".join([HOST, *name.split("."), *filter(None, [attribute])])
    for folder in ("", *(() if own else SCRIPT_FOLDERS)):
        base = ".".join([*filter(None, [folder.replace("/", ".")]), name]).strip(".")
        inside = tree.find(f"{base}.{attribute}".strip(".")) if attribute else None
        if found := inside or tree.find(base):
            return found
    if own or any(path.startswith(f"{top}/") for path in tree.files):  # no such file, or no __init__.py
        return name.replace(".", "/") or "__init__"
    return "/".join([SITE, *name.split(".")])


def called_name(node: ast.Call) -> str:
    """The last part of the called function's name."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def literal(node: ast.AST) -> str:
    """The text that is written out: all of a string, an f-string's whole names before its first value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
        return str(node.values[0].value).rpartition(".")[0]
    return ""


def run_modules(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each module that follows "-m" in a list, a tuple or a call's arguments."""
    items = getattr(node, "elts", None) or getattr(node, "args", None)
    for flag, name in zip(items, items[1:], strict=False) if isinstance(items, list) else ():
        text = literal(name)
        if literal(flag) == "-m" and all(part.isidentifier() for part in text.split(".")):
            yield name.lineno, text


def below(path: str, folders: Iterable[str]) -> bool:
    """Is `path` one of `folders`, or in one of them?"""
    return any(not folder or path == folder or path.startswith(f"{folder}/") for folder in folders)


def imports_by_file(tree: Tree) -> dict[str, set[str]]:
    """Every file -> the files that it imports."""
    graph: dict[str, set[str]] = {path: set() for path in tree.files}
    for arrow in tree.arrows:
        if not arrow.run and arrow.target in tree.files and arrow.target != arrow.source:
            graph[arrow.source].add(arrow.target)
    return graph


def rooms_of(tree: Tree) -> dict[str, str]:
    """Every file -> its room."""
    folders = {path.rpartition("/")[0] for path in tree.files}
    shared = {folder for folder in folders if any(f.startswith(f"{folder}/") for f in folders)} | {""}
    return {path: path if (up := path.rpartition("/")[0]) in shared else up for path in tree.files}


def imports_by_room(tree: Tree) -> dict[str, set[str]]:
    """Every room -> the other rooms that it imports from."""
    rooms = rooms_of(tree)
    graph: dict[str, set[str]] = defaultdict(set)
    for source, targets in imports_by_file(tree).items():
        graph[rooms[source]] |= {rooms[target] for target in targets} - {rooms[source]}
    return dict(graph)


def circles(graph: Graph) -> list[list[str]]:
    """The groups whose members all reach each other, each with its members sorted."""
    reach = {start: reachable(graph, start) for start in graph}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def reachable(graph: Graph, start: str) -> set[str]:
    """Everything that `start` imports, directly or not; `start` too if it is in a circle."""
    found: set[str] = set()
    left = list(graph[start])
    while left:
        if (path := left.pop()) not in found:
            found.add(path)
            left += graph[path]
    return found


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each: one above the highest that it imports; all of a circle are on one floor."""
    reach = {start: reachable(graph, start) for start in graph}
    height: dict[str, int] = {}
    for path in sorted(graph, key=lambda path: len(reach[path] - {path})):
        lower = [other for other in reach[path] if path not in reach[other]]
        height[path] = 1 + max((height[other] for other in lower), default=-1)
    return height
