"""Malformed weights files by seed, and what the readers make of them: `python -m tests.fuzz --help`."""
