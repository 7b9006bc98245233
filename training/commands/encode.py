"""`encode`: the data of a config through its VAE and text model, once, into a folder for later runs.

    python -m training encode --config sd15_video --set data.path=/data/webvid --to cache/webvid
    python -m training video --config sd15_video --set "data={kind: cached, path: cache/webvid}"

Several processes or machines: `--part 0/8` to `--part 7/8`. A run that was cut resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..base import load_base
from ..config import ConfigError
from ..data import Cached, open_dataset
from ..encode import Encoding, encode
from ..runs import parse_run
from ..words import check_words
from .common import add_config_options, config_path, run_reporting_errors


def part_of(text: str) -> tuple[int, int]:
    """`I/N` -> (I, N)."""
    try:
        index, parts = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text}; expected I/N, such as 0/8") from None
    if not 0 <= index < parts:
        raise argparse.ArgumentTypeError(f"got {text}; expected I from 0 to N - 1")
    return index, parts


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training encode",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_options(parser)
    parser.add_argument("--to", type=Path, required=True, help="folder for the cache")
    parser.add_argument("--passes", type=int, default=1, help="clips per video, each from another place")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=256, help="samples per file")
    parser.add_argument("--part", type=part_of, default=(0, 1), metavar="I/N")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments[1:])

    def run() -> int:
        config = parse_run(config_path(options.config), options.changes, files=False)
        if isinstance(config.data, Cached):
            raise ConfigError(
                f"got data of kind cached ({config.data.path}); expected videos, images or shards to encode. "
                'Use --set "data={kind: videos, path: FOLDER}".'
            )
        for name, most in {"passes": 10**6, "batch": 65536, "shard_size": 10**6}.items():
            if not 1 <= getattr(options, name) <= most:
                raise ConfigError(f"got --{name.replace('_', '-')}; expected a number from 1 to {most}")
        if not 0 <= options.workers <= 256:
            raise ConfigError(f"got --workers {options.workers}; expected a number from 0 to 256")
        base = load_base(config.base).to(options.device)
        how = Encoding(
            config.seed, options.passes, options.batch, options.shard_size, options.workers, options.part
        )
        dataset = open_dataset(config.data)
        check_words(base, dataset)
        encode(dataset, base, options.to, how)
        return 0

    return run_reporting_errors(run, options.config)
