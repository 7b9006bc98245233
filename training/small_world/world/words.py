"""The tokenizer of the small world: each word is a single token of CLIP's vocabulary (words.json)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ...sd15 import BOS, EOS, TOKENS

WORDS: dict[str, int] = json.loads(Path(__file__).with_name("words.json").read_text(encoding="ascii"))


def tokenize(captions: list[str]) -> Tensor:
    """(b, 77) int64. Raises KeyError for a word outside the world."""
    rows = []
    for text in captions:
        ids = [BOS, *(WORDS[word] for word in text.split()), EOS]
        rows.append(ids + [EOS] * (TOKENS - len(ids)))
    return torch.tensor(rows)
