"""Errors about data: for one file that cannot be used, and for a whole data set."""

from __future__ import annotations


class UnreadableMedia(Exception):
    """One sample cannot be used; the message says why. It is counted, and another sample takes its place."""


class DataError(ValueError):
    """The data set as a whole cannot be used: got / expected / do this."""
