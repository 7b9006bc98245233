"""Captions in words that a variant does not have, told before the work begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .base import Base
from .data.errors import DataError
from .data.sample import Dataset
from .variants import find_variant

MAX_TOLD = 20


def check_words(base: Base, dataset: Dataset, prompts: Iterable[str] = ()) -> None:
    """Raises DataError that lists the words of prompts and data that the variant does not know."""
    known = find_variant(base.variant).words
    if known is None:  # it takes any text
        return
    strange: dict[str, str] = {}  # word -> where it was first
    for where, text in _all(dataset, prompts):
        for word in text.split():
            if word not in known:
                strange.setdefault(word, where)
    if not strange:
        return
    told = ", ".join(f"{word[:40]!a} in {where[:80]}" for word, where in list(strange.items())[:MAX_TOLD])
    raise DataError(
        f"got {len(strange)} words that variant {base.variant} does not know: {told}; expected "
        f"{', '.join(sorted(known))}. Change these captions, or use another base."
    )


def _all(dataset: Dataset, prompts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for prompt in prompts:
        yield "samples.prompts", prompt
    yield from dataset.captions()
