"""The one error of this package: what a file is, what was wanted, what to do."""

from __future__ import annotations


class FormatError(ValueError):
    """A file cannot be used as asked. The message reads `got ...; expected ... . Do this.`"""

    def __init__(self, got: str, expected: str, do: str):
        super().__init__(f"got {got}; expected {expected}. {do}")
        self.got, self.expected, self.do = got, expected, do

    def in_file(self, name: str) -> FormatError:
        """The same error, saying which file it is about."""
        return FormatError(f"{self.got} in {name}", self.expected, self.do) if name else self
