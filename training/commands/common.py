"""Shared by the commands: the options that name a config, and errors without a traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from animatelcm_core.formats import FormatError

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


def run_reporting_errors(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; errors that a person can act on are printed as one message."""
    try:
        return run()
    except Interrupted as stop:
        print(stop)
        return STOPPED
    except (ConfigError, FormatError, DataError, UnreadableMedia, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
