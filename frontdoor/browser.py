"""Finds a Chromium for the browser tests, or installs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = "ANIMATELCM_CHROMIUM"


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: the one named in ANIMATELCM_CHROMIUM, or the first on the PATH."""
    return os.environ.get(CHROMIUM) or next((path for name in NAMES if (path := shutil.which(name))), None)


def ensure_chromium() -> str | None:
    """Like find_chromium; if there is none and we are root on Debian or Ubuntu, install the package."""
    found = find_chromium()
    if found or not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return found
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    for command in (["apt-get", "update"], install):
        print("Chromium is missing, running:", " ".join(command), flush=True)
        if subprocess.run([*command, "-q"], env=env, stdout=subprocess.DEVNULL).returncode != 0:
            return None
    return find_chromium()
