"""Fixtures for tests against a real ComfyUI. One pytest process per host: ANIMATELCM_HOST names it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))  # for `support`

from support import hosts, inprocess
from support.client import Client
from support.inprocess import Comfy
from support.studio import Studio

from frontdoor.hosts import Host
from frontdoor.server import Server, make_base


def pytest_sessionstart() -> None:
    """A test run that is told to end (a time limit) ends as with Ctrl-C, so that its servers are stopped."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


@pytest.fixture(scope="session")
def host() -> Host:
    """The ComfyUI under test: `host.version`, `host.path`."""
    return hosts.from_environment()


@pytest.fixture(scope="session")
def start_server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`start_server("--lowvram")`: a server with more arguments for main.py, until the session ends.

    A test that needs it for a moment only may stop it: `server.stop()`.
    """
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            base = tmp_path_factory.mktemp("server")
            make_base(base)
            return stack.enter_context(Server(host, base, python=Path(sys.executable), options=options))

        yield start


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """The server that most tests share: `url`, `log_text()`, and `base` with models/, input/, output/."""
    return start_server()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def comfy(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Comfy:
    """ComfyUI in this process, with the pack. See support/inprocess.py."""
    return inprocess.boot(host, tmp_path_factory.mktemp("comfy"))


@pytest.fixture(scope="session")
def studio(comfy: Comfy) -> Studio:
    """A small model in this process and short ways to sample it. See support/studio.py."""
    return Studio(comfy)
