"""The old commands of the small world: each prints the new command and runs it."""

from __future__ import annotations

import sys


def run(*command: str) -> None:
    """Run the new command with this process's arguments; without one, their first or last word is it."""
    from training.small_world.__main__ import COMMANDS, main

    words = [*command, *sys.argv[1:]]
    if not command and words[0:1] and words[0] not in COMMANDS and words[-1] in COMMANDS:
        words = [words[-1], *words[:-1]]
    new = " ".join(["python -m training.small_world", *words[:1]])
    print(f"training.shapes is the old name. The command is now: {new}", file=sys.stderr)
    main(words)
