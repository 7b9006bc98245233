"""`image`, `video`, `image-to-video`, `control` and `adapter`: run one stage.

The same command resumes a run that was cut.

python -m training image --config sd15_image_lora
accelerate launch --config_file training/configs/accelerate_8gpu.yaml -m training video --config sd15_video
"""

from __future__ import annotations

import argparse
import sys

from .. import old_names
from ..config import as_yaml
from ..runs import read_config, train
from ..stages import STAGES
from .common import add_config_options, config_path, run_reporting_errors


def main(arguments: list[str]) -> int:
    command, *rest = arguments
    stages = old_names.COMMANDS.get(command, (command,))
    if not set(stages) <= set(STAGES):
        print(f"got {command}; expected a command of `python -m training --help`", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog=f"python -m training {command}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    options = parser.parse_args(rest)

    def run() -> int:
        config = read_config(stages, config_path(options.config), options.changes)
        if command != config.stage:
            print(f"`{command}` is now `python -m training {config.stage}`", file=sys.stderr)
        if options.dry_run:
            print(as_yaml(config))
        else:
            train(config)
        return 0

    return run_reporting_errors(run, options.config)
