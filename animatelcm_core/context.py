"""Windows over a clip that is longer than the motion model was trained for: frames, weights and noise.

Each step evaluates the windows one by one and averages what they say of a frame, weighted by where in its
window the frame stands (a frame in the middle has seen neighbours on both sides). `freenoise_order` is
FreeNoise's idea (Qiu et al. 2023, Sec. 3.2): every window starts from the same pieces of noise in another
order, so that windows agree on what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import torch

Schedule = Callable[[int, int, int, int], list[list[int]]]
"""(frames, length, overlap, step) -> frame numbers of each window."""

Fuse = Callable[[int, int], list[float]]
"""(length of the window, overlap) -> weight of each of its frames, above 0."""


def standard(frames: int, length: int, overlap: int, step: int) -> list[list[int]]:
    """As few windows as cover the clip, spread evenly: neighbours share `overlap` frames or more."""
    if frames <= length:
        return [list(range(frames))]
    count = ceil((frames - overlap) / (length - overlap))
    starts = [round(i * (frames - length) / (count - 1)) for i in range(count)]
    return [list(range(start, start + length)) for start in starts]


def looped(frames: int, length: int, overlap: int, step: int) -> list[list[int]]:
    """Windows around a circle, so that the last frame leads into the first; moved on a bit each step.

    A clip of one window cannot be closed this way: it is evaluated whole.
    """
    if frames <= length:
        return [list(range(frames))]
    count = ceil(frames / (length - overlap))
    starts = [round((i + halves(step)) * frames / count) for i in range(count)]
    return [[(start + k) % frames for k in range(length)] for start in starts]


def batched(frames: int, length: int, overlap: int, step: int) -> list[list[int]]:
    """Parts that share nothing, of nearly equal length: a short rest at the end would be no clip."""
    count = ceil(frames / length)
    edges = [round(i * frames / count) for i in range(count + 1)]
    return [list(range(a, b)) for a, b in zip(edges, edges[1:], strict=False)]


SCHEDULES: dict[str, Schedule] = {"standard": standard, "looped": looped, "batched": batched}


def halves(step: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: each in the middle of the largest gap left by those before it."""
    value, unit = 0.0, 0.5
    while step:  # the binary digits of `step`, mirrored behind the point (van der Corput's sequence)
        value += unit * (step & 1)
        step, unit = step >> 1, unit / 2
    return value


def pyramid(length: int, overlap: int) -> list[float]:
    """Rises frame by frame to the middle."""
    return [float(min(k + 1, length - k)) for k in range(length)]


def linear(length: int, overlap: int) -> list[float]:
    """Even, with a ramp over the overlap at either end."""
    return [min(1.0, (k + 1) / (overlap + 1), (length - k) / (overlap + 1)) for k in range(length)]


def flat(length: int, overlap: int) -> list[float]:
    """All the same."""
    return [1.0] * length


FUSES: dict[str, Fuse] = {"pyramid": pyramid, "linear": linear, "flat": flat}


def freenoise_order(windows: Sequence[Sequence[int]], frames: int, seed: int) -> list[int]:
    """For each of `frames` frames, the frame whose noise it gets; no window gets the same noise twice.

    The first window keeps its own. Every other one has the first one's in another order as far as it can: at
    the seam of a loop, where two neighbours want different pieces, a frame keeps its own noise.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    # The first window keeps its own noise, which is the pool that all others draw from.
    order: dict[int, int] = {frame: frame for frame in windows[0]}
    pool = list(windows[0])
    # Frames that share a window with each frame: none of them may get the same piece.
    around: dict[int, set[int]] = {frame: set() for frame in range(frames)}
    for window in windows:
        for frame in window:
            around[frame].update(window)
    # Every further window hands out the pool in an order of its own, to those frames that no window before it
    # has served.
    for window in windows[1:]:
        shuffled = [pool[i] for i in torch.randperm(len(pool), generator=generator).tolist()]
        for frame in window:
            if frame not in order:
                taken = {order[other] for other in around[frame] if other in order}
                order[frame] = next((source for source in shuffled if source not in taken), frame)
    return [order[frame] for frame in range(frames)]
