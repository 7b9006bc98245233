"""Which file imports which: the picture of the rooms, and every arrow that the rules below forbid.

    python tools/imports.py            the rooms of this repository, the highest floor first, then the faults
    python tools/imports.py FOLDER     those of another tree

Exit status 1 if there is a fault. Standard library only. How sources are read: tools/import_graph.py.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script
    sys.path.insert(0, str(ROOT))

from tools.import_graph import (  # noqa: E402
    HOST,
    HOST_MODULES,
    PYTHON,
    SITE,
    Tree,
    below,
    called_name,
    circles,
    floors,
    imports_by_file,
    imports_by_room,
    literal,
    read,
)

DEVELOPMENT = ("tests", "benchmarks", "tools")
# They run in .venv, as another process.
CLIENT = ("frontdoor/api", "frontdoor/clips", "frontdoor/demo", "frontdoor/previews")
TOY = ("training/small_world", "training/shapes")


@dataclass(frozen=True)
class Rule:
    """Files below `where`, except `but`, import nothing below `never`, except what is below `save`.

    Own files are named by their paths without `.py`; others begin with ComfyUI/, packages/ or python/.
    `runs`: the rule also holds for modules that are run by their name, as another process.
    """

    name: str
    where: tuple[str, ...]
    never: tuple[str, ...]
    but: tuple[str, ...] = ()
    save: tuple[str, ...] = ()
    runs: bool = True


RULES = (
    Rule(
        "the core knows neither ComfyUI nor anything above it",
        where=("animatelcm_core",),
        but=("animatelcm_core/host",),
        never=(HOST, "animatelcm_core/host", "__init__", "nodes", "training", "frontdoor"),
    ),
    Rule(
        "host/ stands on ComfyUI and the core alone",
        where=("animatelcm_core/host",),
        never=("__init__", "nodes", "training", "frontdoor"),
    ),
    Rule(
        "only animatelcm_core/host imports ComfyUI's modules; nodes/ import comfy_api.latest",
        where=("",),
        but=("animatelcm_core/host", *DEVELOPMENT),
        never=(HOST,),
        save=(f"{HOST}/comfy_api/latest",),
    ),
    Rule(
        "only nodes/ import comfy_api.latest",
        where=("",),
        but=("nodes", "animatelcm_core/host", *DEVELOPMENT),
        never=(f"{HOST}/comfy_api",),
    ),
    Rule(
        "nodes/ stand on the core alone",
        where=("nodes",),
        never=("__init__", "training", "frontdoor", "quickstart"),
    ),
    Rule(
        "the pack's entry point imports its nodes alone",
        where=("__init__",),
        never=("",),
        save=("nodes", PYTHON),
    ),
    Rule(
        "the pack needs no package that ComfyUI does not bring",
        where=("__init__", "nodes", "animatelcm_core"),
        never=tuple(f"{SITE}/{name}" for name in ("accelerate", "diffusers", "peft", "transformers")),
    ),
    Rule(
        "training/ stands on the core alone",
        where=("training",),
        never=("__init__", "nodes", "frontdoor", "quickstart", "animatelcm_core/host"),
    ),
    Rule("the product does not know its toy", where=("",), but=(*TOY, *DEVELOPMENT), never=TOY),
    Rule(
        "the front door is standard library and itself",
        where=("frontdoor", "quickstart"),
        but=CLIENT,
        never=("",),
        save=(PYTHON, "frontdoor"),
    ),
    Rule(
        "what runs in .venv is not imported by what makes it",
        where=("frontdoor", "quickstart"),
        but=CLIENT,
        never=CLIENT,
        runs=False,
    ),
    Rule(
        "the demo's client knows aiohttp, Pillow and the front door",
        where=CLIENT,
        never=("",),
        save=(PYTHON, "frontdoor", f"{SITE}/aiohttp", f"{SITE}/PIL"),
    ),
    Rule("nothing stands on tests, benchmarks or tools", where=("",), but=DEVELOPMENT, never=DEVELOPMENT),
)

# From the ground up. A room imports rooms of its own floor and of lower ones.
FLOORS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "animatelcm_core/host": (("compat", "interop"), ("checks",), ("load", "sampling"), ("patches",)),
    "training/small_world": (("world",), ("teacher",), ("measure",), ("experiments",)),
}

# Which ComfyUI runs, and what it can do, is asked in one file.
COMPAT = "animatelcm_core/host/compat"
ASKING = ("animatelcm_core", "nodes", "__init__")  # whose questions are looked for
QUESTION_MODULES = (
    f"{PYTHON}/inspect",
    f"{PYTHON}/importlib/metadata",
    f"{PYTHON}/importlib/util",
    f"{PYTHON}/pkgutil",
    f"{SITE}/packaging",
    f"{HOST}/comfyui_version",
)
PROBES = ("dir", "fields", "getattr", "hasattr", "vars")  # of a name that was imported from ComfyUI
# Names that some hosts of the supported range have and others have not; as a string they are a question.
VERSIONED = frozenset(
    "CoreModelPatcher causal_anchor_index is_dynamic multigpu_clones register_load_device".split()
)


def faults(tree: Tree) -> list[str]:
    """All that the rules forbid, a line each."""
    return [*forbidden(tree), *questions(tree), *in_circles(tree)]


def forbidden(tree: Tree) -> Iterator[str]:
    """Every arrow against a rule or up a floor."""
    for arrow in tree.arrows:
        place = f"{arrow.source}.py:{arrow.line}: {'runs' if arrow.run else 'imports'} {arrow.target}"
        for rule in RULES:
            mine = below(arrow.source, rule.where) and not below(arrow.source, rule.but)
            hit = below(arrow.target, rule.never) and not below(arrow.target, rule.save)
            if mine and hit and (rule.runs or not arrow.run):
                yield f"{place}; {rule.name}"
        for house, levels in FLOORS.items():
            mine, other = (level_of(path, house, levels) for path in (arrow.source, arrow.target))
            if mine is not None and other is not None and mine < other and not arrow.run:
                names = " < ".join(", ".join(level) for level in levels)
                yield f"{place}; the floors of {house} are {names}"


def level_of(path: str, house: str, levels: tuple[tuple[str, ...], ...]) -> int | None:
    """The number of the floor on which `path` is, None for a file without one."""
    rooms = ([f"{house}/{room}" for room in level] for level in levels)
    return next((number for number, names in enumerate(rooms) if below(path, names)), None)


def in_circles(tree: Tree) -> Iterator[str]:
    """Every circle of files, and every circle of rooms that is more than a circle of files."""
    found = circles(imports_by_file(tree))
    yield from (f"circle of files: {', '.join(group)}" for group in found)
    yield from (f"circle of rooms: {', '.join(g)}" for g in circles(imports_by_room(tree)) if g not in found)


def questions(tree: Tree) -> Iterator[str]:
    """Every place outside COMPAT that asks which ComfyUI it runs on."""
    asking = {path: tree.files[path] for path in tree.files if below(path, ASKING) and path != COMPAT}
    rule = f"what the host is and can do is asked in {COMPAT}.py"
    for arrow in tree.arrows:
        if arrow.source in asking and below(arrow.target, QUESTION_MODULES):
            yield f"{arrow.source}.py:{arrow.line}: imports {arrow.target}; {rule}"
    for path, module in asking.items():
        names = host_names(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and called_name(node) in PROBES and node.args:
                if root_name(node.args[0]) in names:
                    yield f"{path}.py:{node.lineno}: {ast.unparse(node)}; {rule}"
            elif isinstance(node, ast.Constant) and literal(node) in VERSIONED:
                yield f"{path}.py:{node.lineno}: {literal(node)!r}; {rule}"
            elif isinstance(node, ast.Try) and tries_host(node):
                yield f"{path}.py:{node.lineno}: tries an import of the host; {rule}"


def host_names(module: ast.Module) -> set[str]:
    """Names in a file that stand for modules, classes and functions of ComfyUI."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom) and in_host(node):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


def in_host(node: ast.AST) -> bool:
    """Does this statement import something of ComfyUI?"""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in HOST_MODULES for alias in node.names)
    named = node.module if isinstance(node, ast.ImportFrom) and node.level == 0 else None
    return (named or "").partition(".")[0] in HOST_MODULES


def root_name(node: ast.AST) -> str:
    """The first name of `a.b(c).d`."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def tries_host(node: ast.Try) -> bool:
    """`try: import comfy...` with an `except` for its absence."""
    absent = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception"}
    kinds = {
        n.id
        for handler in node.handlers
        if handler.type
        for n in ast.walk(handler.type)
        if isinstance(n, ast.Name)
    }
    return bool(kinds & absent) and any(
        in_host(part) for statement in node.body for part in ast.walk(statement)
    )


def picture(tree: Tree) -> Iterator[str]:
    """The rooms of what is shipped, from the highest floor down, each with its arrows."""
    graph = {room: to for room, to in imports_by_room(tree).items() if not below(room, DEVELOPMENT)}
    height = floors(graph)
    for number in sorted(set(height.values()), reverse=True):
        yield f"floor {number}"
        for room in sorted(room for room in graph if height[room] == number):
            yield f"  {room}" + "".join(f"\n      -> {other}" for other in sorted(graph[room]))


def main(arguments: list[str]) -> int:
    """Exit status 0 if the tree keeps all rules."""
    tree = read(Path(arguments[0]) if arguments else ROOT)
    found = faults(tree)
    print("\n".join(picture(tree)))
    print(f"\n{len(tree.files)} files, {len(imports_by_room(tree))} rooms, {len(found)} faults")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
