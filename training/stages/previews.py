"""Previews for stages that condition clips on an image or on hints."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.sample import Batch
from ..roles import Conditioning
from .stage import C, Preview, Stage


class ConditionedPreviews(Stage[C]):
    """A stage whose previews use the conditioning of the first batch that this process saw."""

    reads_prompts = False
    first_batch: Sequence[Preview] = ()

    def remember(self, batch: Batch, conditioning: Conditioning, frames: int) -> None:
        """Keep the captions of the first batch, each with the conditioning of its clip of `frames`."""
        if not self.first_batch:
            self.first_batch = list(zip(batch.captions, conditioning.split(frames), strict=True))

    def previews(self, prompts: Sequence[str]) -> list[Preview]:
        """The remembered clips, as many as there are prompts."""
        return list(self.first_batch[: len(prompts)])
