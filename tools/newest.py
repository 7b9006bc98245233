"""Runs the newest supported host with this pack, and opens its frontend in a browser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontdoor import hosts
from frontdoor.browser import CHROMIUM, find_chromium
from frontdoor.paths import PYTHON
from frontdoor.problem import Problem
from frontdoor.server import Server, make_base

from . import workflow_files
from .frontend import Frontend, chromium


@contextmanager
def newest_host() -> Iterator[Server]:
    """A running server whose lists hold every model file that the workflows name (empty ones)."""
    host = hosts.ensure_pinned(hosts.NEWEST)
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        base = Path(folder)
        make_base(base)
        for file in workflow_files.all_files():
            workflow_files.place_empty_models(file.read(), base)
            workflow_files.place_media(file.read(), base)
        with Server(host, base, python=PYTHON) as server:
            yield server


@contextmanager
def open_page(server: Server) -> Iterator[Frontend]:
    """The server's page, open. Raises Problem without a Chromium."""
    browser = find_chromium()
    if browser is None:
        raise Problem(f"got no Chromium, expected one on the PATH or in {CHROMIUM}.")
    with chromium(browser, server.url, (1920, 1200)) as frontend:
        frontend.open()
        yield frontend
