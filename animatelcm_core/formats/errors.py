"""The one error of this package: what a file is, what was wanted, what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .words import clean, reason

DOWNLOAD_AGAIN = "Download the file again and compare its size with the one its page shows."


class FormatError(ValueError):
    """A file cannot be used for this purpose. The message reads `got ...; expected ... . Do this.`

    kind: what the file is instead (`Identity.kind`), if that is what is wrong. `do` is empty then: which node
    or command takes such a file is known to the caller, who adds it.
    """

    def __init__(self, got: str, expected: str, do: str = "", kind: str = ""):
        got, expected = clean(got), clean(expected)
        super().__init__(f"got {got}; expected {expected}. {do}".rstrip())
        self.got, self.expected, self.do, self.kind = got, expected, do, kind

    def in_file(self, name: str) -> FormatError:
        """The same error with the name of the file."""
        return FormatError(f"{self.got} in {name}", self.expected, self.do, self.kind) if name else self

    def advised(self, do: str) -> FormatError:
        """The same error with advice on what to do."""
        return FormatError(self.got, self.expected, do, self.kind)


@contextmanager
def reading(name: str, expected: str = "a weights file", do: str = DOWNLOAD_AGAIN) -> Iterator[None]:
    """The last net around a reader: whatever it did not foresee becomes a FormatError about the file `name`.

    The traceback goes to the log: it is a fault of the reader. A FormatError stays as it is, so does an
    OSError (the disk's), an interrupt, and a GPU that is full.
    """
    try:
        yield
    except (FormatError, OSError):
        raise
    except MemoryError as error:
        logging.debug("AnimateLCM: reading %s", name, exc_info=True)
        raise FormatError(f"{name}, which claims more memory than there is", expected, do) from error
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"  # of a library in Rust, no Exception of Python
        if not (panic or isinstance(error, Exception)) or "OutOfMemory" in type(error).__name__:
            raise
        logging.debug("AnimateLCM: reading %s", name, exc_info=True)
        claims = "not enough memory" in str(error) or "allocate memory" in str(error)
        got = (
            "which claims more memory than there is" if claims else f"which cannot be read ({reason(error)})"
        )
        raise FormatError(f"{name}, {got}", expected, do) from error
