"""The Markdown of the repository: links and anchors exist, commands name what is there, README is short."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from frontdoor.paths import ROOT

FOLDERS = ("docs", "nodes", "tests", "training", "web", ".github")
PAGES = sorted([*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))])
README_WORDS = 900
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|\s)(?:python3?|accelerate launch .*?) (-m \S+|\S+\.py)(?: ([a-z][\w-]*))?")
HAVE_COMMANDS = ("quickstart.py", "-m training", "-m training.small_world")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = (LINK.sub(lambda link: link[0].split("]")[0].strip("!["), heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def commands(text: str) -> set[tuple[str, str]]:
    """What the page tells the reader to run by `python`, and the word after it: ("-m training", "video")."""
    lines = [line for fence in FENCE.findall(text) for line in fence.splitlines()]
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    typed = (COMMAND.search(" ".join(code.split())) for code in [*lines, *spans])
    return {(match[1], match[2] or "") for match in typed if match}


@cache
def known(program: str) -> set[str]:
    """The words that a program's help lists."""
    run = subprocess.run(
        [sys.executable, *program.split(), "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return set(re.findall(r"[\w-]+", run.stdout))


def test_the_readme_is_a_landing_page():
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert words < README_WORDS


def test_the_demo_is_the_first_command_of_the_readme():
    first = FENCE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert first is not None
    assert first[0].splitlines()[1] == "python quickstart.py demo"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_name_files_and_modules_that_exist(page):
    for program, word in commands(page.read_text(encoding="utf-8")):
        if program.startswith("-m "):
            name = program.removeprefix("-m ")
            assert name in ("pip", "pytest") or importlib.util.find_spec(name), f"no module {name}"
        else:
            assert (ROOT / program).is_file(), f"no file {program}"
        if word and program in HAVE_COMMANDS:
            assert word in known(program), f"python {program} knows no {word}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_configs_that_commands_name_exist(page):
    for name in re.findall(r"--config (\w+)(?=[\s`])", page.read_text(encoding="utf-8")):
        assert name.isupper() or (ROOT / "training" / "configs" / f"{name}.yaml").is_file(), (
            f"no config {name}"
        )
