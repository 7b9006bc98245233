"""The tokenizer of the small world: each word is a single token of CLIP's vocabulary (words.json)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ...data.errors import DataError
from ...sd15 import BOS, EOS, TOKENS

WORDS: dict[str, int] = json.loads(Path(__file__).with_name("words.json").read_text(encoding="ascii"))


def tokenize(captions: list[str]) -> Tensor:
    """(b, 77) int64. Raises DataError for words outside the world, or more of them than tokens."""
    strange = sorted({word for text in captions for word in text.split()} - WORDS.keys())
    if strange:
        told = ", ".join(f"{word[:40]!a}" for word in strange[:20])
        raise DataError(f"got words that the small world does not know: {told}; expected {', '.join(WORDS)}.")
    rows = []
    for text in captions:
        ids = [BOS, *(WORDS[word] for word in text.split()), EOS]
        if len(ids) > TOKENS:
            raise DataError(f"got a caption of {len(ids) - 2} words; expected up to {TOKENS - 2}.")
        rows.append(ids + [EOS] * (TOKENS - len(ids)))
    return torch.tensor(rows)
