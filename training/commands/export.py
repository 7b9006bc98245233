"""`export`: a run's newest checkpoint as files for ComfyUI, or any motion file as .safetensors.

python -m training export --run runs/sd15_video --to models
python -m training export --convert v3_sd15_mm.ckpt --to v3_sd15_mm.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from animatelcm_core.formats import convert_motion

from ..runs import export_run
from .common import run_reporting_errors


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training export", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder of a run")
    source.add_argument("--convert", type=Path, help="a motion file of any layout")
    parser.add_argument(
        "--to", type=Path, required=True, help="folder to write to; with --convert the new file"
    )
    parser.add_argument(
        "--online", action="store_true", help="export the last weights instead of their moving average"
    )
    parser.add_argument("--diffusers", action="store_true", help="also write a diffusers MotionAdapter")
    options = parser.parse_args(arguments[1:])

    def run() -> int:
        if options.convert is not None:
            file = convert_motion(options.convert, options.to)
            print(f"wrote {options.to}: {file.description}")
            return 0
        for path in export_run(options.run, options.to, options.online, options.diffusers):
            print(f"wrote {path}")
        return 0

    return run_reporting_errors(run, str(options.run or options.convert))
