#!/usr/bin/env python3
"""The front door: makes .venv/ and .hosts/ beside this file and runs the pack in a real ComfyUI.

    python quickstart.py demo       a small video from text, in a few minutes on a fresh machine
    python quickstart.py serve      ComfyUI with the pack and its demo model in your browser
    python quickstart.py test       all tests; --fast for the unit tests
    python quickstart.py bench t2v  speed of text to video

`python quickstart.py COMMAND --help` lists the options. The work is done in frontdoor/; this file must be
readable for any Python, old ones included, to say which one is needed.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        "quickstart: got Python %d.%d, expected 3.10 to 3.13. Run it with a newer one, for example: "  # noqa: UP031
        "python3.12 quickstart.py demo" % sys.version_info[:2]
    )

if __name__ == "__main__":
    try:
        from frontdoor.commands import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
