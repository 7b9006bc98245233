"""`python -m tests.support.several_runs STAGE CONFIG [STAGE CONFIG ...]`: training runs in one process."""

from __future__ import annotations

import sys

from training.__main__ import main

if __name__ == "__main__":
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    sys.exit(max(main([stage, "--config", config]) for stage, config in pairs))
