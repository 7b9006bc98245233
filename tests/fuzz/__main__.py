"""Many malformed files through the readers, each in bounded time and memory.

    python -m tests.fuzz --files 20000 --seed 7 [--workers 2]
    python -m tests.fuzz --seed 7 --only 1234        one file again, kept, with its traceback

Every file depends on the seed and its number alone. It is made and read in a worker process, which is killed
when it takes too long. Allowed: the file loads, or it is refused by a FormatError that names it. Not allowed:
another exception, a message with foreign control characters or PyTorch's advice, more than 5 s of processor
time, more than 1 GB above the file's size, a crash, and a file that runs code. Exit status 1 if one occurs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .pool import outcomes

ALLOWED = ("loads", "refused")


def many(seed: int, files: int, workers: int) -> int:
    """Read the files, print what came of them. The exit status."""
    print(f"seed {seed}, {files} files", flush=True)
    counts: Counter[str] = Counter()
    slowest, largest, start = (0.0, -1), (0.0, -1), time.monotonic()
    for index, kind, generator, words, seconds, megabytes in outcomes(seed, range(files), workers):
        counts[kind] += 1
        slowest, largest = max(slowest, (seconds, index)), max(largest, (megabytes, index))
        if sum(counts.values()) % 500 == 0:
            print(f"{sum(counts.values())} files, {time.monotonic() - start:.0f} s", flush=True)
        if kind not in ALLOWED:
            print(f"{kind} {index} ({generator}): {words} [{seconds:.1f} s, {megabytes:.0f} MB]", flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in counts.most_common()))
    print(f"slowest {slowest[0]:.2f} s (file {slowest[1]}), largest {largest[0]:.0f} MB (file {largest[1]})")
    print(f"seed {seed}: {files} files in {time.monotonic() - start:.0f} s")
    return 0 if set(counts) <= set(ALLOWED) else 1


def again(seed: int, index: int) -> int:
    """One file once more, left where it is made, with the traceback of whatever it raises."""
    from .reading import generate, read_all

    logging.basicConfig(level=logging.DEBUG)
    name, path = generate(seed, index, Path(tempfile.mkdtemp(prefix="fuzz-")))
    print(f"{name}: {path}", flush=True)
    print(read_all(path))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", type=int, help="the number of one file")
    options = parser.parse_args(arguments)
    if options.only is not None:
        return again(options.seed, options.only)
    return many(options.seed, options.files, options.workers)


if __name__ == "__main__":
    sys.exit(main())
