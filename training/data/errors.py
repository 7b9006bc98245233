"""Two kinds of trouble with data: one file that cannot be used, and a data set that cannot be used."""

from __future__ import annotations


class UnreadableMedia(Exception):
    """One sample cannot be used; the message is the reason. It is counted and another takes its place."""


class DataError(ValueError):
    """The data set as a whole is not what was asked for: got / expected / do this."""
