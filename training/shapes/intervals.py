"""Confidence intervals of shares."""

from __future__ import annotations


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, 95 % by default; rounded to four places."""
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"got {hits} of {n}; expected 0 <= hits <= n and n > 0")
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
