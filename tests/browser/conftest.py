"""Fixtures for tests in the real frontend. One pytest process per host, as in tests/host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The server is another process: here, nothing of ComfyUI can be hidden by the repository's folders.
sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))  # for `support`

from support import hosts
from support.client import Client

from frontdoor.browser import CHROMIUM, find_chromium
from frontdoor.hosts import Host
from frontdoor.server import Server, make_base
from tools import workflow_files
from tools.frontend import Frontend, chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def host() -> Host:
    """The ComfyUI under test, with the frontend that it serves."""
    return hosts.from_environment()


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with this pack and no model files at all; the pictures and videos to begin with are there."""
    base = tmp_path_factory.mktemp("server")
    make_base(base)
    for file in workflow_files.all_files():
        workflow_files.place_media(file.read(), base)
    with Server(host, base, python=Path(sys.executable)) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    """A client of that server."""
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser's program file."""
    path = find_chromium()
    if path is None:
        pytest.fail(f"got no Chromium, expected one on the PATH or in {CHROMIUM}.")
    return path


@pytest.fixture(scope="module")
def frontend(server: Server, chromium_path: str) -> Iterator[Frontend]:
    """The page, open, for the tests of one file."""
    with chromium(chromium_path, server.url) as frontend:
        frontend.open()
        yield frontend
