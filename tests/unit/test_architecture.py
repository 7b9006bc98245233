"""Who imports whom: this repository keeps the rules, and small made-up trees break each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import imports
from tools.import_graph import circles, floors, imports_by_file, imports_by_room, read

ROOT = Path(imports.ROOT)


def made(folder: Path, files: dict[str, str]) -> list[str]:
    """The faults of a tree with these files."""
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return imports.faults(read(folder))


# What the rules allow, of every part: one tree that has no fault.
CLEAN = {
    "__init__.py": "def entry():\n    from .nodes import Extension\n    return Extension\n",
    "nodes/__init__.py": "from comfy_api.latest import io\nfrom .apply import Apply\n",
    "nodes/apply.py": "from ..animatelcm_core.host.patches.motion import with_motion\nimport torch\n",
    "animatelcm_core/__init__.py": "",
    "animatelcm_core/schedule.py": "import math\nimport torch\nfrom .config import SIZE\n",
    "animatelcm_core/config.py": "SIZE = getattr(object(), 'size', 1)\n",
    "animatelcm_core/host/__init__.py": "",
    "animatelcm_core/host/compat.py": "import inspect\nimport comfy.sd\nNEW = hasattr(comfy.sd, 'CLIP')\n",
    "animatelcm_core/host/checks.py": "import nodes\nfrom ..schedule import x\nfrom . import compat\n",
    "animatelcm_core/host/load/__init__.py": "",
    "animatelcm_core/host/load/motion.py": "import folder_paths\nfrom ..checks import check\n",
    "animatelcm_core/host/patches/__init__.py": "",
    "animatelcm_core/host/patches/motion.py": "from ..load.motion import Motion\nimport comfy.utils\n",
    "training/__init__.py": "",
    "training/base.py": "import diffusers\nfrom animatelcm_core.schedule import x\nimport inspect\n",
    "training/small_world/__init__.py": "",
    "training/small_world/teacher/__init__.py": "",
    "training/small_world/teacher/loop.py": "from ...base import x\nfrom ..world.clips import y\n",
    "training/small_world/world/__init__.py": "",
    "training/small_world/world/clips.py": "import numpy\n",
    "training/shapes/__init__.py": "",
    "training/shapes/__main__.py": "from ..small_world.teacher import loop\n",
    "frontdoor/__init__.py": "",
    "frontdoor/commands.py": "import json\nfrom . import paths\nC = ['python', '-m', 'frontdoor.demo']\n",
    "frontdoor/paths.py": "import os\nP = ['python', '-m', 'pip']\n",
    "frontdoor/demo.py": "from PIL import Image\nfrom .api import Client\n",
    "frontdoor/api.py": "import aiohttp\n",
    "quickstart.py": "from frontdoor.commands import main\n",
    "tools/cards.py": "from frontdoor import api\nimport comfy.sd\nfrom tests.support import a\n",
    "benchmarks/speed.py": "import sibling\nfrom training.small_world.world import clips\n",
    "benchmarks/sibling.py": "from tools import cards\nimport training.base\n",
    "tests/support/a.py": "",
    "tests/unit/test_it.py": "import nodes\nimport quickstart\nfrom benchmarks import speed\n",
}


def test_this_repository_keeps_the_rules():
    assert imports.faults(read(ROOT)) == []


def test_a_tree_that_keeps_the_rules_has_no_fault(tmp_path):
    assert made(tmp_path, CLEAN) == []


# File, what it holds, and what it must not import.
BROKEN = [
    # the core
    ("animatelcm_core/schedule.py", "import comfy.model_sampling", "ComfyUI/comfy/model_sampling"),
    ("animatelcm_core/schedule.py", "def f():\n    from nodes import x", "ComfyUI/nodes/x"),
    ("animatelcm_core/schedule.py", "from .host.checks import x", "animatelcm_core/host/checks"),
    ("animatelcm_core/schedule.py", "from ..nodes import apply", "nodes/apply"),
    ("animatelcm_core/schedule.py", "from training import base", "training/base"),
    ("animatelcm_core/schedule.py", "import frontdoor.paths", "frontdoor/paths"),
    ("animatelcm_core/host/load/motion.py", "from ....nodes.apply import x", "nodes/apply"),
    ("animatelcm_core/host/compat.py", "import training.base", "training/base"),
    # the nodes
    ("nodes/apply.py", "import folder_paths", "ComfyUI/folder_paths"),
    ("nodes/apply.py", "from comfy_api.torch_helpers import x", "ComfyUI/comfy_api/torch_helpers/x"),
    ("nodes/apply.py", "from frontdoor import paths", "frontdoor/paths"),
    ("nodes/apply.py", "from training.base import x", "training/base"),
    ("nodes/apply.py", "import peft", "packages/peft"),
    ("animatelcm_core/schedule.py", "import accelerate.utils", "packages/accelerate/utils"),
    ("animatelcm_core/host/checks.py", "import transformers", "packages/transformers"),
    ("__init__.py", "from .animatelcm_core import schedule", "animatelcm_core/schedule"),
    ("__init__.py", "import diffusers", "packages/diffusers"),
    # the training
    ("training/base.py", "import comfy.sd", "ComfyUI/comfy/sd"),
    ("training/base.py", "from comfy_api.latest import io", "ComfyUI/comfy_api/latest/io"),
    ("training/base.py", "import nodes", "ComfyUI/nodes"),
    ("training/base.py", "from animatelcm_core.host import checks", "animatelcm_core/host/checks"),
    ("training/base.py", "from frontdoor.paths import x", "frontdoor/paths"),
    (
        "training/base.py",
        "def f():\n    from .small_world.world import clips",
        "training/small_world/world/clips",
    ),
    ("training/base.py", "from . import shapes", "training/shapes/__init__"),
    ("training/base.py", "i.import_module('.small_world', __package__)", "training/small_world/__init__"),
    ("training/base.py", "i.import_module(f'training.small_world.{x}')", "training/small_world/__init__"),
    ("training/base.py", "C = ['python', '-m', f'training.shapes.{x}']", "training/shapes/__main__"),
    ("training/small_world/world/clips.py", "import frontdoor", "frontdoor/__init__"),
    (
        "training/small_world/world/clips.py",
        "from ..teacher import loop",
        "training/small_world/teacher/loop",
    ),
    # the front door
    ("frontdoor/paths.py", "import numpy", "packages/numpy"),
    ("frontdoor/paths.py", "from animatelcm_core.schedule import x", "animatelcm_core/schedule"),
    ("frontdoor/paths.py", "import training.small_world.world.clips", "training/small_world/world/clips"),
    ("frontdoor/paths.py", "from .demo import make", "frontdoor/demo"),
    ("frontdoor/demo.py", "import torch", "packages/torch"),
    ("quickstart.py", "import PIL", "packages/PIL"),
    # the floors of host/
    ("animatelcm_core/host/compat.py", "from . import checks", "animatelcm_core/host/checks"),
    ("animatelcm_core/host/checks.py", "from .load.motion import x", "animatelcm_core/host/load/motion"),
    (
        "animatelcm_core/host/load/motion.py",
        "from ..patches import motion",
        "animatelcm_core/host/patches/motion",
    ),
    # what nobody imports
    ("training/base.py", "import sibling", "benchmarks/sibling"),
    ("training/base.py", "from benchmarks.speed import x", "benchmarks/speed"),
    ("frontdoor/paths.py", "import tools.cards", "tools/cards"),
    ("animatelcm_core/schedule.py", "C = ('-m', 'tools.cards')", "tools/cards"),
    ("nodes/apply.py", "from ..tests.unit.test_it import x", "tests/unit/test_it"),
]


@pytest.mark.parametrize(("file", "source", "target"), BROKEN)
def test_a_forbidden_arrow_is_told(tmp_path, file, source, target):
    found = made(tmp_path, {**CLEAN, file: source})
    assert any(
        f"{file}:{1 + source.count(chr(10))}: " in fault and f" {target};" in fault for fault in found
    ), found


def test_every_rule_is_broken_by_one_of_these_trees(tmp_path):
    told = ""
    for number, (file, source, _target) in enumerate(BROKEN):
        told += "\n".join(made(tmp_path / str(number), {**CLEAN, file: source}))
    assert [rule.name for rule in imports.RULES if rule.name not in told] == []
    assert [house for house in imports.FLOORS if f"the floors of {house}" not in told] == []


@pytest.mark.parametrize(
    "source",
    [
        "import inspect",
        "from importlib import metadata",
        "import importlib.metadata as m",
        "from importlib.util import find_spec",
        "from packaging.version import Version",
        "import comfy.sd\nN = hasattr(comfy.sd, 'CLIP')",
        "from comfy import sd\nN = getattr(sd.CLIP, 'new', None)",
        "import comfy.sd as core\ndef f():\n    return hasattr(core.CLIP(), 'new')",
        "import dataclasses\nfrom comfy_api.latest import io\nN = dataclasses.fields(io.Schema)",
        "def f(options):\n    return options.get('multigpu_clones')",
        "def f(patcher):\n    return getattr(patcher, 'is_dynamic', bool)()",
        "try:\n    import comfy.context_windows\nexcept ImportError:\n    pass",
        "try:\n    from comfy import new\nexcept (AttributeError, ModuleNotFoundError):\n    new = None",
    ],
)
def test_a_question_about_the_host_is_told(tmp_path, source):
    for file in ("animatelcm_core/host/load/motion.py", "nodes/apply.py"):
        found = made(tmp_path, {**CLEAN, file: source})
        assert any(f"{file}:" in fault and "host/compat.py" in fault for fault in found), found
    assert made(tmp_path, {**CLEAN, "animatelcm_core/host/compat.py": source, "nodes/apply.py": ""}) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(unet):\n    return hasattr(unet, 'input_blocks')",  # which network it is, not which host
        "def f(x):\n    return getattr(x, 'cfg', None)",
        "try:\n    import comfy.sd\nfinally:\n    pass",
        "try:\n    open('x')\nexcept Exception:\n    pass",
    ],
)
def test_other_questions_are_free(tmp_path, source):
    assert made(tmp_path, {**CLEAN, "animatelcm_core/host/load/motion.py": source}) == []


def test_circles_are_told_for_files_and_for_rooms(tmp_path):
    files = {
        "training/a.py": "from . import b\n",
        "training/b.py": "def f():\n    from .c import x\n",
        "training/c.py": "from .a import y\n",
        "training/data/one.py": "from ..eval.one import x\n",
        "training/data/two.py": "",
        "training/eval/one.py": "",
        "training/eval/two.py": "from ..data.two import x\n",
    }
    assert made(tmp_path, files) == [
        "circle of files: training/a, training/b, training/c",
        "circle of rooms: training/data, training/eval",
    ]


def test_a_file_may_run_what_imports_it(tmp_path):
    files = {"training/__main__.py": "from . import a\n", "training/a.py": "C = ['-m', 'training']\n"}
    assert made(tmp_path, files) == []


def test_rooms_and_floors(tmp_path):
    made(tmp_path, CLEAN)
    tree = read(tmp_path)
    rooms = imports_by_room(tree)
    assert rooms["nodes"] == {"animatelcm_core/host/patches"}
    assert rooms["animatelcm_core/host/load"] == {"animatelcm_core/host/checks"}
    assert rooms["training/shapes"] == {"training/small_world/teacher"}
    height = floors(rooms)
    assert height["animatelcm_core/config"] == 0
    assert height["nodes"] == height["animatelcm_core/host/patches"] + 1
    assert circles(imports_by_file(tree)) == []


def test_the_command_prints_the_picture_and_fails_for_a_fault(tmp_path):
    made(tmp_path, CLEAN)
    command = [sys.executable, str(ROOT / "tools" / "imports.py"), str(tmp_path)]
    clean = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "  nodes\n      -> animatelcm_core/host/patches\n" in clean.stdout
    (tmp_path / "training" / "base.py").write_text("import comfy.sd\n")
    broken = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert broken.returncode == 1
    assert "training/base.py:1: imports ComfyUI/comfy/sd; " in broken.stdout
