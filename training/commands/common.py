"""Shared by the commands: the options that name a config, and errors without a traceback."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkstemp
from traceback import format_exc

import torch

from animatelcm_core.formats import FormatError

from ..bounded_yaml import shown
from ..config import ConfigError
from ..data.errors import DataError, UnreadableMedia
from ..engine import Interrupted
from ..runs import CONFIGS

STOPPED = 3  # exit code of a run that was asked to stop and can be resumed


def config_path(name: str) -> Path:
    """A path, or the name of one of the pack's own configs, such as `sd15_video`."""
    path = Path(name)
    return path if path.suffix else CONFIGS / f"{name}.yaml"


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add --config and --set."""
    parser.add_argument(
        "--config", required=True, help="a YAML file, or one of these names: " + ", ".join(config_names())
    )
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="a.b=c",
        help="change a value of the config; can be repeated",
    )


def config_names() -> list[str]:
    """Names of the pack's own configs."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("accelerate"))


def run_reporting_errors(run: Callable[[], int], source: str = "") -> int:
    """Run a command; an error that a person can act on ends it with one message, without a traceback.

    source: the file that it is about, for an error that nobody foresaw; its traceback goes to a file.
    """
    try:
        return run()
    except Interrupted as stop:
        print(stop)
        return STOPPED
    except (ConfigError, FormatError, DataError, UnreadableMedia, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        what = "too little memory" if _lacks_memory(error) else f"{type(error).__name__}: {shown(error)}"
        place = f" with {source}" if source else ""
        print(f"error: got {what}{place}{_traceback_kept()}", file=sys.stderr)
        return 1


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _traceback_kept() -> str:
    """Write the traceback of the error that is handled to a file; returns words that say where it is."""
    traceback = format_exc()
    logging.getLogger(__name__).debug("%s", traceback)
    try:
        number, path = mkstemp(prefix="animatelcm-", suffix=".log")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(traceback)
    except OSError:
        return ""
    return f"; expected something else. The traceback for a report is in {path}"
