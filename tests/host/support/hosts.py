"""Which ComfyUI this test process is for."""

from __future__ import annotations

import os
from pathlib import Path

from frontdoor import hosts
from frontdoor.hosts import Host
from frontdoor.problem import Problem


def from_environment() -> Host:
    """The host in ANIMATELCM_HOST and the frontend in ANIMATELCM_FRONTEND; `quickstart.py test` sets both."""
    folder, frontend = os.environ.get("ANIMATELCM_HOST"), os.environ.get("ANIMATELCM_FRONTEND")
    if not folder:
        raise Problem(
            "got no ANIMATELCM_HOST, expected the folder of a ComfyUI: set it, or run quickstart.py test."
        )
    host = hosts.checkout(Path(folder))
    return Host(host.version, host.path, Path(frontend).resolve()) if frontend else host
