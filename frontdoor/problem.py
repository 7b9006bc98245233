"""The error for everything that a person can act on."""

from __future__ import annotations


class Problem(Exception):
    """Its message is printed without a traceback: what was got, what is expected, what to do."""
