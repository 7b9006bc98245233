"""The old commands of the small world: each prints the new command and runs it."""

from __future__ import annotations

import sys


def run(*command: str) -> None:
    """Run the new command with this process's arguments; without a command, the first argument is it."""
    words = [*command, *sys.argv[1:]]
    new = " ".join(["python -m training.small_world", *words[:1]])
    print(f"training.shapes is the old name. The command is now: {new}", file=sys.stderr)
    from training.small_world.__main__ import main

    main(words)
