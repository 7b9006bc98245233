"""One evaluation of a MODEL: its noise level, its frames and its networks; and how patches wrap it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...attach import AttachError
from .. import interop
from ..compat import device_patchers, window_frames


@dataclass(frozen=True)
class Evaluation:
    """One call of the host's `calc_cond_batch`, which evaluates all conditions of one batch of frames.

    model: the host's BaseModel. conds: its lists of conditions. x_in: (f, 4, h, w), one clip or one window of
    it; the UNet gets (k f) of them. timestep: (f,), a sigma. options: the host's model_options.
    """

    model: Any
    conds: Any
    x_in: torch.Tensor
    timestep: torch.Tensor
    options: dict[str, Any]


Prepare = Callable[[Evaluation, ExitStack], Evaluation]
"""Changes an evaluation for a patch; the contexts it enters on the stack last while the evaluation runs."""


def around(prepare: Prepare) -> Any:
    """CALC_COND_BATCH wrapper that lets `prepare` change each evaluation before it runs."""

    def wrapper(
        executor: Any, model: Any, conds: Any, x_in: Any, timestep: Any, options: Any, *args: Any, **kw: Any
    ) -> Any:
        with ExitStack() as stack:
            call = prepare(Evaluation(model, conds, x_in, timestep, options), stack)
            return executor(call.model, call.conds, call.x_in, call.timestep, call.options, *args, **kw)

    return wrapper


@dataclass(frozen=True)
class Range:
    """Where on the schedule a patch acts, from `start` to `end`: 0 is pure noise, 1 the clean picture."""

    start: float = 0.0
    end: float = 1.0

    def check(self) -> None:
        """ValueError unless the range goes forward."""
        if self.start > self.end:
            raise ValueError(
                f"got start_percent {self.start:g} after end_percent {self.end:g}; expected start before "
                "end. Swap them: 0 is the beginning of sampling, 1 its end."
            )

    def covers(self, call: Evaluation) -> bool:
        """Whether the noise level of an evaluation lies in the range, as the host reads percentages."""
        if self.start <= 0 and self.end >= 1:
            return True
        sigma = float(call.timestep[0])
        first, last = (call.model.model_sampling.percent_to_sigma(p) for p in (self.start, self.end))
        return last <= sigma <= first


ALWAYS = Range()


def frame_numbers(options: dict[str, Any], count: int) -> list[int]:
    """Numbers of the `count` frames of this evaluation, counted from 0 in the whole clip."""
    return window_of(options, count) or list(range(count))


def window_of(options: dict[str, Any], count: int) -> list[int] | None:
    """Frame numbers of the context window of `count` frames that is evaluated, None without one.

    The host's own kind of window, or AnimateDiff-Evolved's.
    """
    transformer = options.get("transformer_options", {})
    for window in (window_frames(transformer.get("context_window")), interop.window_of(transformer)):
        if window is not None and len(window) == count:
            return window
    return None


@contextmanager
def explain_split_clips() -> Iterator[None]:
    """Turn an AttachError about the frame count into a ValueError that says which node may be the cause."""
    try:
        yield
    except AttachError as error:
        raise ValueError(
            f"{error}. Another node on this MODEL evaluates the frames in parts; remove it, or let it work "
            "on the whole clip."
        ) from error


def networks(call: Evaluation, key: str) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each UNet that an evaluation runs on (one per device) with its additional models under `key`.

    Looked up on every call: conditioning hooks, torch.compile and device nodes evaluate on other instances
    than were there when a node patched the MODEL.
    """
    for patcher in device_patchers(call.model, call.options):
        for additional in patcher.get_additional_models_with_key(key):
            yield patcher.model.diffusion_model, additional.model
