"""`quickstart.py test`: every check of the repository, each in its own process, and a summary."""

from __future__ import annotations

import os
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import browser, environment, hosts
from .hosts import Host
from .paths import PYTHON
from .processes import LEASH, run

HOST, FRONTEND = "ANIMATELCM_HOST", "ANIMATELCM_FRONTEND"
NO_TESTS_RAN = 5  # exit status of pytest
WORKERS = 4  # at most so many processes: each takes half a GB
# `python -m pytest` would put this repository first on sys.path, where its nodes/ hides ComfyUI's nodes.py.
PYTEST = "import sys; sys.path[:1] = []; import pytest; sys.exit(pytest.main())"


@dataclass(frozen=True)
class Tally:
    """How many tests passed, failed (errors too) and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Part:
    """One run of one tool: pytest on the folder `tests`, or else `command`, which counts as one test.

    options: pytest's own, before those of the command line.
    """

    name: str
    tests: str | None = None
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def main(fast: bool, names: Sequence[str], pytest_arguments: Sequence[str]) -> int:
    """Run all parts. The exit status is 0 only if something passed and nothing failed. Raises Problem."""
    environment.ensure("run", "test")
    parts = [_fast_part()] if fast else _all_parts([hosts.find(name) for name in names])
    results: list[tuple[str, Tally, float]] = []
    total = Tally()
    for part in parts:
        print(f"\n===== {part.name}", flush=True)
        start = time.monotonic()
        tally = run_part(part, pytest_arguments)
        results.append((part.name, tally, time.monotonic() - start))
        total += tally
    if not fast:
        total += _report_missing_browser(results)
    print()
    for name, tally, seconds in results:
        print(f"{name:24} {seconds:7.1f} s   {tally}")
    print(total, flush=True)
    return 0 if total.failed == 0 and total.passed > 0 else 1


def _fast_part() -> Part:
    """The unit tests without the slow ones, on a few processes that share the cores."""
    cores = os.cpu_count() or 1
    workers = min(cores, WORKERS)
    env = {"OMP_NUM_THREADS": str(cores // workers)}
    return Part("unit", "tests/unit", (), env, ("-m", "not slow", "-n", str(workers), "--dist", "loadfile"))


def _all_parts(tested: Sequence[Host]) -> list[Part]:
    """Style, types, unit tests, then each host's tests and the browser's on it."""
    hosts.ensure_pinned(hosts.NEWEST)  # pyright reads its types
    module = (str(PYTHON), "-m")
    parts = [
        Part("ruff check", command=(*module, "ruff", "check", ".")),
        Part("ruff format", command=(*module, "ruff", "format", "--check", ".")),
        Part("pyright", command=(*module, "pyright")),
        Part("unit", "tests/unit"),
    ]
    chromium = browser.ensure_chromium()
    for host in tested:
        env = {HOST: str(host.path), FRONTEND: str(host.frontend or "")}
        parts.append(Part(f"host {host.version}", "tests/host", env=env))
        if chromium is not None:
            env = {**env, browser.CHROMIUM: chromium}
            parts.append(Part(f"browser {host.version}", "tests/browser", env=env))
    return parts


def _report_missing_browser(results: Sequence[tuple[str, Tally, float]]) -> Tally:
    """If the browser tests did not run, say so loudly and count them as one skipped test."""
    if any(name.startswith("browser") for name, _, _ in results):
        return Tally()
    print("\nNOT TESTED: the browser tests did not run, there is no Chromium on this machine.")
    print(f"Install Chromium or Chrome, or name it in {browser.CHROMIUM}, and run again.", flush=True)
    return Tally(skipped=1)


def run_part(part: Part, pytest_arguments: Sequence[str]) -> Tally:
    """Run one part to its end and count its tests."""
    if part.tests is None:
        passed = run(part.command, part.env) == 0
        return Tally(passed=int(passed), failed=int(not passed))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [PYTHON, LEASH, "quiet", "-c", PYTEST, part.tests, f"--junitxml={report}"]
        command += [*part.options, *pytest_arguments]
        # The tests need nothing from the network: no library shall try.
        status = run(command, {"HF_HUB_OFFLINE": "1", **part.env})
        return judge(status, report, selected=bool(pytest_arguments))


def judge(status: int, report: Path, selected: bool) -> Tally:
    """The outcome of a pytest run from its exit status and its junit report.

    A run that ended badly without a failed test in its report (a crash, a wrong option) is one failure.
    No tests at all is a failure too, unless the caller `selected` some with arguments of their own.
    """
    tally = read_junit(report) if report.is_file() else Tally()
    if status == 0 or tally.failed > 0 or (status == NO_TESTS_RAN and selected):
        return tally
    return tally + Tally(failed=1)


def read_junit(report: Path) -> Tally:
    """Counts over all suites of a junit report. Errors (in fixtures, on import) count as failed."""
    total = Tally()
    for suite in ElementTree.parse(report).iter("testsuite"):
        tests, errors, failures, skipped = (
            int(suite.get(key, 0)) for key in ("tests", "errors", "failures", "skipped")
        )
        total += Tally(tests - errors - failures - skipped, errors + failures, skipped)
    return total
