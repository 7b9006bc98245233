"""A cache for one sampling run: values that its evaluations share, computed once while there is room."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

CACHED_FRAMES = 64  # a whole clip, or four windows of 16: memory does not grow with the clip


class RunCache:
    """Cached values, each under what it was computed from and the frames it is for.

    frames: number of frames in the clip that is sampled.
    """

    def __init__(self, frames: int = 0):
        self.frames = frames
        self._values: dict[tuple[Hashable, tuple[int, ...]], Any] = {}

    def get(self, what: Hashable, frames: Sequence[int], make: Callable[[], Any]) -> Any:
        """The cached value for these frames; without one, the result of `make`, cached if there is room."""
        key = (what, tuple(frames))
        if key in self._values:
            return self._values[key]
        value = make()
        if self.cached_frames + len(frames) <= CACHED_FRAMES:
            self._values[key] = value
        return value

    @property
    def cached_frames(self) -> int:
        """How many frames the cached values cover, all together."""
        return sum(len(frames) for _, frames in self._values)

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()


@contextmanager
def run_cache(guider: Any, key: str, frames: int) -> Iterator[RunCache]:
    """A cache in the options of one run of the host's guider, for `cache_of`; cleared at the end."""
    cache = guider.model_options[key] = RunCache(frames)
    try:
        yield cache
    finally:
        guider.model_options.pop(key, None)
        cache.clear()  # the host's copies of the options may live on, in the traceback of an error for one


def cache_of(options: dict[str, Any], key: str, frames: int) -> RunCache:
    """The run's cache; a new one for an evaluation of `frames` frames outside a run."""
    return options.get(key) or RunCache(frames)
