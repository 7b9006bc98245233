"""The one error of this package: what a file is, what was wanted, what to do."""

from __future__ import annotations


class FormatError(ValueError):
    """A file cannot be used for this purpose. The message reads `got ...; expected ... . Do this.`

    kind: what the file is instead (`Identity.kind`), if that is what is wrong. `do` is empty then: which node
    or command takes such a file is known to the caller, who adds it.
    """

    def __init__(self, got: str, expected: str, do: str = "", kind: str = ""):
        super().__init__(f"got {got}; expected {expected}. {do}".rstrip())
        self.got, self.expected, self.do, self.kind = got, expected, do, kind

    def in_file(self, name: str) -> FormatError:
        """The same error with the name of the file."""
        return FormatError(f"{self.got} in {name}", self.expected, self.do, self.kind) if name else self

    def advised(self, do: str) -> FormatError:
        """The same error with advice on what to do."""
        return FormatError(self.got, self.expected, do, self.kind)
