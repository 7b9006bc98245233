"""Describes the machine that a measurement ran on, and reads its peak memory."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

GIB = 2**30


def describe() -> dict[str, Any]:
    """Processor, cores and threads, graphics card if any, system, versions, and how busy it is.

    load: programs that wanted a core, mean of the last minute; ask before measuring. None on Windows.
    """
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "threads": torch.get_num_threads(),
        "gpu": card,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: str | None = None) -> float:
    """GiB: the most this process has held so far (mapped files too), or, on `cuda`, on that card.

    Without `device`: on the card if there is one.
    """
    if device == "cuda" or (device is None and torch.cuda.is_available()):
        return torch.cuda.max_memory_allocated() / GIB
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / GIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / GIB if sys.platform == "darwin" else peak * 1024 / GIB
