"""The control patch: hints of ControlNets and T2I-Adapters, cut to the frames of a context window.

The host hands every window the hints of its first frames. Around each evaluation of a window the conditions
get shallow copies of their controls instead, whose hints are those of the window's frames; the host's own
windows are served as well as this pack's. Several windows' copies are cached for a run, with the features
they compute, but not more as the clip grows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .. import interop
from ..compat import device_copies, without_hints
from ..messages import log
from .attachment import hang
from .evaluation import Evaluation, around, window_of
from .run_cache import RunCache, cache_of, run_cache

KEY = "animatelcm.control"


def run(executor: Any, noise: Tensor, *args: Any, **kw: Any) -> Any:
    """OUTER_SAMPLE wrapper: warns about hints that do not fit the clip, and caches control copies."""
    controls = [c for conds in executor.class_obj.conds.values() for c in controls_of(conds)]
    frames = noise.shape[0]
    log(hint_warnings(controls, frames))
    with run_cache(executor.class_obj, KEY, frames):
        try:
            return executor(noise, *args, **kw)
        except BaseException:
            # The host does so after success only; a hint cut to this clip would be used for the next one.
            for control in controls:
                control.cleanup()
            raise


def prepare(call: Evaluation, _stack: ExitStack) -> Evaluation:
    """The evaluation of a window with the hints of its frames. IP-Adapter nodes read the window as well."""
    window = window_of(call.options, call.x_in.shape[0])
    if window is None:
        return call
    cache = cache_of(call.options, KEY, len(window))
    conds = [c and [_cut_cond(cond, window, cache) for cond in c] for c in call.conds]
    return replace(call, conds=conds, options=interop.options_with_window(call.options, window, cache.frames))


def _cut_cond(cond: dict[str, Any], window: Sequence[int], cache: RunCache) -> dict[str, Any]:
    """One condition of the host with its chain of controls for these frames."""
    control = cond.get("control")
    if control is None:
        return cond
    made = cache.get(id(control), window, lambda: cut_control(control, window, cache.frames))
    return {**cond, "control": made}


def cut_control(control: Any, window: Sequence[int], frames: int) -> Any:
    """A copy of a CONTROL_NET and of those before it in the chain, with the hints of the frames `window`.

    A single hint is for all frames; fewer hints than frames are repeated from the start, as without windows.
    """
    made = copy.copy(control)
    if control.previous_controlnet is not None:
        made.previous_controlnet = cut_control(control.previous_controlnet, window, frames)
    if interop.picks_its_hints(control):
        interop.tell_control(made, window, frames)
    else:
        made.cond_hint_original = _of_frames(control.cond_hint_original, window)
        made.extra_concat_orig = [_of_frames(extra, window) for extra in control.extra_concat_orig]
    without_hints(made)
    if copies := device_copies(control):
        made.multigpu_clones = {device: cut_control(c, window, frames) for device, c in copies.items()}
    return made


def _of_frames(hint: Tensor | None, window: Sequence[int]) -> Tensor | None:
    """The hints (n, c, h, w) of the frames `window`."""
    if hint is None or hint.shape[0] == 1:
        return hint
    return hint[[frame % hint.shape[0] for frame in window]]


def controls_of(conds: Any) -> Iterator[Any]:
    """Every control on a list of the host's conditions, those before it in the chain included."""
    for cond in conds:
        control = cond.get("control")
        while control is not None:
            yield control
            control = control.previous_controlnet


def hint_warnings(controls: Sequence[Any], frames: int) -> list[str]:
    """Warnings about hints whose number is not that of the frames."""
    hints = [c.cond_hint_original for c in controls if not interop.picks_its_hints(c)]
    counts = {hint.shape[0] for hint in hints if hint is not None}
    happens = {True: "they are repeated from the start", False: "the rest is left out"}
    return [
        f"got {count} hints for {frames} frames; expected one per frame, or one for all: "
        f"{happens[count < frames]}. Give the clip and its hints the same length."
        for count in sorted(counts - {1, frames})
    ]


def watch_control(model: Any) -> None:
    """Put the wrappers on `model` (a clone of the caller's), once however often it is called."""
    hang(model, KEY, {WrappersMP.CALC_COND_BATCH: around(prepare), WrappersMP.OUTER_SAMPLE: run})
