"""Reads the sample of a position, or says why it cannot be read; counts what was skipped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..randomness import generator_for
from .errors import DataError, UnreadableMedia
from .sample import Dataset, Sample

Report = Callable[[str], None]
_FEW = 64  # files to try before a bad share can stop a run


@dataclass(frozen=True)
class Skip:
    """A file that cannot be used, and why."""

    index: int
    reason: str


def read(dataset: Dataset, index: int, seed: int, position: int) -> Sample | Skip:
    """Sample `index` for `position`; chance (where a clip begins) depends on seed and position only."""
    try:
        sample = dataset.load(index, generator_for(seed, "sample", position))
    except UnreadableMedia as trouble:
        return Skip(index, str(trouble))
    except DataError:
        raise
    except Exception as error:  # a file may surprise every library that reads it
        logging.getLogger(__name__).debug("sample %s", index, exc_info=True)
        words = " ".join(str(error).split())[:200]
        return Skip(index, f"it cannot be read: {type(error).__name__} {words}")
    return replace(sample, position=position)


def log_line(line: str) -> None:
    """The default report: a warning in the log."""
    logging.getLogger("training.data").warning("%s", line)


class Tally:
    """Counts readable and unreadable files. Reports each unreadable one once; raises if most of them are."""

    def __init__(self, dataset: Dataset, report: Report = log_line) -> None:
        self.skipped: dict[str, str] = {}  # name -> reason
        self._dataset, self._report = dataset, report
        self._state = bytearray(len(dataset))  # 0 not seen, 1 readable, 2 not
        self._good = self._bad = 0

    def good(self, index: int) -> None:
        """Count a sample that was read."""
        if not self._state[index]:
            self._state[index] = 1
            self._good += 1

    def skip(self, skip: Skip) -> None:
        """Count a file that was skipped. Raises DataError: more than half of the data, or three quarters of
        the first 64 files and more, cannot be read."""
        before, self._state[skip.index] = self._state[skip.index], 2
        if before == 2:
            return
        self._good -= before  # a file that is cut off may be readable up to there
        self._bad += 1
        name = self._dataset.name(skip.index)
        self.skipped[name] = skip.reason
        self._report(f"skipped {name}: {skip.reason}")
        tried = self._good + self._bad
        if 2 * self._bad > len(self._state) or (tried >= _FEW and 4 * self._bad > 3 * tried):
            raise DataError(self.complaint())

    def complaint(self) -> str:
        """The message about data that is mostly unreadable, with the first reasons."""
        first = [f"  {name}: {reason}" for name, reason in list(self.skipped.items())[:5]]
        return "\n".join(
            [
                f"got {self._bad} unreadable of {self._good + self._bad} tried, {len(self._state)} in "
                "all; expected at least half to be readable: check the data. The first reasons:",
                *first,
            ]
        )
