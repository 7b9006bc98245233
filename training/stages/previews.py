"""Sample grids of the stages whose clips are shown with something: an image, or hints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..data.sample import Batch
from ..roles import Given
from .stage import Preview, Stage


class ShownStage(Stage):
    """A stage that previews clips of the first batch that this process saw."""

    shown: Sequence[Preview] = ()

    def remember(self, batch: Batch, given: Given, frames: int) -> None:
        """Keep the captions of the first batch, each with what its clip of `frames` is shown with."""
        if not self.shown:
            parts = given.given.split(frames)
            pairs = zip(batch.captions, parts, strict=True)
            self.shown = [(caption, replace(given, given=part)) for caption, part in pairs]

    def previews(self, prompts: Sequence[str]) -> list[Preview]:
        """As many of them as there are prompts."""
        return list(self.shown[: len(prompts)])
