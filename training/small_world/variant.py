"""The small world as a variant of the trainer's networks: `base.variant: shapes`."""

from __future__ import annotations

from pathlib import Path

from ..variants import Evaluation, Tokenize, Variant
from .teacher import networks
from .world.words import WORDS, tokenize


def _tokenizer(folder: Path | None) -> Tokenize:
    """The world's own tokenizer, which needs no files."""
    return tokenize


def _metrics() -> Evaluation:
    from .measure import evaluation

    return evaluation


VARIANT = Variant(
    name="shapes",
    motion=networks.MOTION,
    size=(64, 64),
    build_unet=networks.unet,
    build_vae=networks.vae,
    build_text=networks.text_model,
    tokenizer=_tokenizer,
    metrics=_metrics,
    words=frozenset(WORDS),
)
