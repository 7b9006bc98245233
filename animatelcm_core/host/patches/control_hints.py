"""Hints of ControlNets and T2I-Adapters, cut to the frames of a context window.

The host hands every window the hints of its first frames. Around each evaluation of a window the conditions
get shallow copies of their controls instead, whose hints are those of the window's frames; the host's own
windows are served as well as this pack's. Several windows' copies are kept for a run, with the features they
compute, but not more as the clip grows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .evaluation import window_of
from .run_cache import Kept
from .run_wrappers import replace_wrapper, say

KEY = "animatelcm.control"


@dataclass(eq=False)
class ControlWindows:
    """Wrappers of one MODEL. frames: of the clip that is sampled; 0 between runs."""

    frames: int = 0
    kept: Kept = field(default_factory=Kept)

    def run(self, executor: Any, noise: Tensor, *args: Any, **kw: Any) -> Any:
        """OUTER_SAMPLE wrapper: tells hints that do not fit the clip, and forgets copies at the end."""
        controls = [c for conds in executor.class_obj.conds.values() for c in controls_of(conds)]
        self.frames = noise.shape[0]
        say(hint_warnings(controls, self.frames))
        try:
            return executor(noise, *args, **kw)
        except BaseException:
            # The host does so after success only; a hint cut to this clip would be used for the next one.
            for control in controls:
                control.cleanup()
            raise
        finally:
            self.frames = 0
            self.kept.clear()

    def evaluate(
        self,
        executor: Any,
        model: Any,
        conds: Any,
        x_in: Tensor,
        timestep: Tensor,
        options: dict[str, Any],
        *args: Any,
        **kw: Any,
    ) -> Any:
        """CALC_COND_BATCH wrapper. x_in: (f, 4, h, w), the frames of one window."""
        shown = window_of(options, x_in.shape[0])
        if shown is not None:
            conds = [c and [self.cut(cond, shown) for cond in c] for c in conds]
            options = self.told(options, shown)
        return executor(model, conds, x_in, timestep, options, *args, **kw)

    def cut(self, cond: dict[str, Any], shown: Sequence[int]) -> dict[str, Any]:
        """One condition of the host with its chain of controls for these frames."""
        control = cond.get("control")
        if control is None:
            return cond
        made = self.kept.of(id(control), shown, lambda: cut_control(control, shown, self.frames))
        return {**cond, "control": made}

    def told(self, options: dict[str, Any], shown: Sequence[int]) -> dict[str, Any]:
        """The window in the words of AnimateDiff-Evolved as well, which IP-Adapter nodes listen to."""
        transformer = dict(options.get("transformer_options", {}))
        words = {"sub_idxs": list(shown), "full_length": self.frames, "context_length": len(shown)}
        transformer.setdefault("ad_params", words)
        return {**options, "transformer_options": transformer}


def cut_control(control: Any, shown: Sequence[int], frames: int) -> Any:
    """A copy of a CONTROL_NET and of those before it in the chain, with the hints of the frames `shown`.

    A single hint is for all frames; fewer hints than frames are repeated from the start, as without windows.
    """
    made = copy.copy(control)
    if control.previous_controlnet is not None:
        made.previous_controlnet = cut_control(control.previous_controlnet, shown, frames)
    if cuts_itself(control):
        made.sub_idxs, made.full_latent_length, made.context_length = list(shown), frames, len(shown)
    else:
        made.cond_hint_original = _of_frames(control.cond_hint_original, shown)
        made.extra_concat_orig = [_of_frames(extra, shown) for extra in control.extra_concat_orig]
    # What the original has computed from all its hints.
    for name in ("cond_hint", "extra_concat", "control_input"):
        if hasattr(made, name):
            setattr(made, name, None)
    if clones := getattr(control, "multigpu_clones", None):
        made.multigpu_clones = {device: cut_control(c, shown, frames) for device, c in clones.items()}
    return made


def cuts_itself(control: Any) -> bool:
    """Whether this is one of ComfyUI-Advanced-ControlNet, which chooses its hints itself (SparseCtrl)."""
    return hasattr(control, "sub_idxs")


def _of_frames(hint: Tensor | None, shown: Sequence[int]) -> Tensor | None:
    """Those of the hints (n, c, h, w) that belong to the frames `shown`."""
    if hint is None or hint.shape[0] == 1:
        return hint
    return hint[[frame % hint.shape[0] for frame in shown]]


def controls_of(conds: Any) -> Iterator[Any]:
    """Every control on a list of the host's conditions, those before it in the chain included."""
    for cond in conds:
        control = cond.get("control")
        while control is not None:
            yield control
            control = control.previous_controlnet


def hint_warnings(controls: Sequence[Any], frames: int) -> list[str]:
    """What to say about hints whose number is not that of the frames."""
    hints = [c.cond_hint_original for c in controls if not cuts_itself(c)]
    counts = {hint.shape[0] for hint in hints if hint is not None}
    happens = {True: "they are repeated from the start", False: "the rest is left out"}
    return [
        f"got {count} hints for {frames} frames; expected one per frame, or one for all: "
        f"{happens[count < frames]}. Give the clip and its hints the same length."
        for count in sorted(counts - {1, frames})
    ]


def watch_control(model: Any) -> None:
    """Put the wrappers on `model` (a clone of the caller's), once however often it is called."""
    windows = ControlWindows()
    replace_wrapper(model, WrappersMP.CALC_COND_BATCH, KEY, windows.evaluate)
    replace_wrapper(model, WrappersMP.OUTER_SAMPLE, KEY, windows.run)
