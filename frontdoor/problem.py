"""Errors that a person can act on."""

from __future__ import annotations


class Problem(Exception):
    """Printed as it is, without a traceback: got what, expected what, do what."""
