"""How many names a pattern with braces stands for, counted before any is made."""

from __future__ import annotations

import re

from .errors import DataError

MAX_NAMES, MAX_CHARACTERS, MAX_DEPTH = 100_000, 50_000_000, 16
_NUMBERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?", re.ASCII)
_LETTERS = re.compile(r"(.)\.\.(.)(?:\.\.-?\d+)?", re.DOTALL)


def check_braces(pattern: str) -> None:
    """Raises DataError for a pattern of more names than a data set has tars."""
    count = _count(pattern, 0)
    if count > MAX_NAMES or count * len(pattern) > MAX_CHARACTERS:
        raise DataError(
            f"got a pattern of more than {min(count, MAX_NAMES)} names ({pattern[:200]}); expected the tars "
            "of a data set: name their folder, or fewer at once."
        )


def _count(text: str, depth: int) -> int:
    """Names that `text` stands for at most: steps of ranges are left out."""
    if depth > MAX_DEPTH:
        raise DataError(f"got braces nested deeper than {MAX_DEPTH} in a pattern of shards; expected fewer.")
    product, place = 1, 0
    while (place := _open(text, place)) >= 0:
        parts, end = _parts(text, place + 1)
        if end < 0:  # no brace closes it: braceexpand tells
            break
        product *= _group(parts, depth)
        if product > MAX_NAMES:
            return MAX_NAMES + 1
        place = end + 1
    return product


def _group(parts: list[str], depth: int) -> int:
    if len(parts) > 1:
        return sum(_count(part, depth + 1) for part in parts)
    numbers, letters = _NUMBERS.fullmatch(parts[0]), _LETTERS.fullmatch(parts[0])
    if numbers:
        if max(map(len, numbers.groups())) > 18:
            return MAX_NAMES + 1
        return abs(int(numbers[2]) - int(numbers[1])) + 1
    if letters:
        return abs(ord(letters[2]) - ord(letters[1])) + 1
    return _count(parts[0], depth + 1)


def _open(text: str, start: int) -> int:
    """Place of the next opening brace, -1 where there is none."""
    while start < len(text):
        if text[start] == "\\":
            start += 2
        elif text[start] == "{":
            return start
        else:
            start += 1
    return -1


def _parts(text: str, start: int) -> tuple[list[str], int]:
    """What lies between commas up to the closing brace, and its place; -1 where there is none."""
    parts, depth, begin, place = [], 0, start, start
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            place += 1
        elif letter == "{":
            depth += 1
        elif letter == "}" and depth:
            depth -= 1
        elif letter == "," and not depth:
            parts.append(text[begin:place])
            begin = place + 1
        elif letter == "}":
            return [*parts, text[begin:place]], place
        place += 1
    return [], -1
