"""What is shipped and how it is checked: the registry's archive, the hooks, the workflows on GitHub."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from tools import archive
from tools.archive import ROOT
from tools.import_graph import imported, reached, read

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
    return set(archive.archived())


def files(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}


def test_the_archive_holds_all_that_the_nodes_import(archived):
    graph = imported(read(ROOT))
    sources = {"__init__", *reached(graph, "__init__")}
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


def test_the_archive_is_small_enough_to_fetch(archived):
    assert sum(map(archive.size, archived)) < 45 * archive.MB


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
