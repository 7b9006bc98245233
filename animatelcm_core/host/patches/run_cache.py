"""What the evaluations of one run share: computed once, kept while there is room."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

KEPT_FRAMES = 64  # a whole clip, or four windows of 16: memory does not grow with the clip


class Kept(dict[tuple[Hashable, tuple[int, ...]], Any]):
    """Values by what they are of and by the frames they are for. Clear it at the end of a run."""

    def of(self, what: Hashable, frames: Sequence[int], make: Callable[[], Any]) -> Any:
        """The value for these frames: the one that is kept, or else what `make` gives."""
        key = (what, tuple(frames))
        if key in self:
            return self[key]
        value = make()
        if sum(len(known) for _, known in self) + len(frames) <= KEPT_FRAMES:
            self[key] = value
        return value
