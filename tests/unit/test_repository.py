"""What is shipped and how it is checked: the registry's archive, the hooks, the workflows on GitHub."""

from __future__ import annotations

import ast
import re

import pytest
import yaml
from PIL import Image

from tools import archive, readme_picture
from tools.archive import ROOT
from tools.import_graph import imports_by_file, reachable, read

METADATA = {
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
}  # the registry and the Manager read them


@pytest.fixture(scope="module")
def archived() -> set[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("the archive is made from git's list of files, and this is no clone")
    return set(archive.archive_paths())


def files(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}


def test_the_archive_holds_all_that_the_nodes_import(archived):
    graph = imports_by_file(read(ROOT))
    sources = {"__init__", *reachable(graph, "__init__")}
    assert {f"{path}.py" for path in sources} <= archived
    assert {path.split("/")[0] for path in sources} == {"__init__", "nodes", "animatelcm_core"}


def test_the_archive_holds_the_demo_models_that_a_node_loads_and_no_others(archived):
    strings = [node for node in ast.walk(ast.parse((ROOT / "nodes" / "demo.py").read_text())) if named(node)]
    loaded = {f"demo/{node.value}" for node in strings if isinstance(node, ast.Constant)}
    assert loaded <= files("demo", "*.safetensors")
    assert {path for path in archived if path.startswith("demo/")} == loaded


def named(node: ast.AST) -> bool:
    """Is this the name of a file with weights?"""
    return isinstance(node, ast.Constant) and str(node.value).endswith(".safetensors")


def test_the_archive_holds_help_and_workflows_and_nothing_else(archived):
    shown = files("web/docs", "*.md") | files("workflows", "*.json") | files("workflows", "*.jpg")
    assert len(shown) > 30
    assert shown <= archived
    sources = files("nodes", "**/*.py") | files("animatelcm_core", "**/*.py") | {"__init__.py"}
    models = {path for path in archived if path.startswith("demo/")}
    assert archived == shown | sources | models | METADATA


def test_the_archive_is_as_small_as_the_readme_says(archived):
    told = re.search(r"download is (\d+) MB", " ".join((ROOT / "README.md").read_text().split()))
    assert told is not None
    assert abs(archive.zip_size(archived) / archive.MB - int(told[1])) < 0.6


def test_pictures_of_the_pages_are_small():
    pages = [
        *(ROOT / "docs").rglob("*.webp"),
        *(ROOT / "docs").rglob("*.png"),
        *(ROOT / "docs").rglob("*.jpg"),
    ]
    assert len(pages) > 5
    assert [path.name for path in pages if path.stat().st_size > 300_000] == []


def test_the_readme_s_picture_moves_and_repeats():
    with Image.open(readme_picture.PATH) as picture:
        assert picture.n_frames == readme_picture.FRAMES
        assert picture.info["loop"] == 0
        assert picture.size == tuple(2 * side for side in readme_picture.CELL)


def test_every_frame_of_the_readme_s_picture_shows_what_goes_in_and_what_comes_out():
    shades = [Image.new("RGB", (64, 64), (number, 200, 100)) for number in range(readme_picture.FRAMES)]
    cell = ("Title", "a line", shades[:1], shades)
    first, *_, last = readme_picture.panels([cell] * 4)
    side, (width, height) = readme_picture.TILE, readme_picture.CELL
    for frame, number in ((first, 0), (last, readme_picture.FRAMES - 1)):
        for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
            into = x + readme_picture.MARGIN + side // 2
            middle = y + readme_picture.MARGIN + readme_picture.HEAD + side // 2
            assert frame.getpixel((into, middle)) == (0, 200, 100)
            assert frame.getpixel((into + side + readme_picture.GAP, middle)) == (number, 200, 100)


def test_the_hooks_use_the_gate_s_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (ruff,) = (repo["rev"] for repo in hooks["repos"] if repo["repo"].endswith("/ruff-pre-commit"))
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    assert re.search(rf"^ruff=={re.escape(ruff.removeprefix('v'))}$", lock, re.MULTILINE)


@pytest.mark.parametrize("name", ["test.yml", "publish.yml"])
def test_a_workflow_on_github_runs_what_is_there(name: str):
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job.get("steps", [])]
    told = "\n".join(step.get("run", "") for step in steps)
    for path in re.findall(r"\S+\.py|\.ci/run", told):
        assert (ROOT / path).is_file(), path
    for step in steps:
        assert re.search(r"@(v\d+|[0-9a-f]{40})$", step.get("uses", "@v0")), "pinned"
    for called in (job["uses"] for job in jobs.values() if "uses" in job):
        assert (ROOT / called).is_file()
