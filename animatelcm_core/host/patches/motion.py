"""Hangs a motion model on a MODEL: the image UNet becomes a video UNet while one evaluation runs.

Where: around `calc_cond_batch`, which evaluates all conditions of one batch of frames - of one window of
them if the host's context windows are on - so the frame count is the batch it is handed. The hooks live for
that call only: an error or an interrupt leaves nothing behind, a clone without motion that shares the UNet
never meets them, and nothing in the UNet's modules, keys or weights changes. The UNet and the motion weights
are looked up on every call: conditioning hooks, torch.compile and device nodes evaluate on other instances
than were there at Apply.

No memory is reserved beyond the host's estimate: a temporal block's widest activation (8 C per token in its
feed-forward) is that of the spatial transformer before it, which has been freed by then.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...attach import attached
from ...motion_module import MotionModel
from ..checks import check_base, check_frames, check_motion_fits
from ..load.motion import Motion, on_device_of
from .compiled import marked, tell_compiler
from .control_hints import watch_control
from .evaluation import check_range, networks, whole_clips, within
from .run_wrappers import replace_wrapper, watch_length

KEY = "animatelcm.motion"
_WRAPPERS = (WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL, WrappersMP.OUTER_SAMPLE)


@dataclass(frozen=True)
class MotionPatch:
    """One application of a motion model. Holds no weights: clones and copies of a MODEL copy its wrappers.

    Active from `start_percent` to `end_percent` of the schedule (0 is pure noise); `strength` scales the
    residual of every temporal module.
    """

    max_frames: int
    strength: float
    start_percent: float
    end_percent: float

    def evaluate(
        self,
        executor: Any,
        model: Any,
        conds: Any,
        x_in: torch.Tensor,
        timestep: torch.Tensor,
        options: dict[str, Any],
        *args: Any,
        **kw: Any,
    ) -> Any:
        """CALC_COND_BATCH wrapper. x_in: (f, 4, h, w), one clip or window; the UNet gets (k f) of them."""
        if not within(model.model_sampling, timestep, self.start_percent, self.end_percent):
            return executor(model, conds, x_in, timestep, options, *args, **kw)
        frames = x_in.shape[0]
        check_frames(frames, self.max_frames)
        weights: list[object] = []
        with ExitStack() as stack:
            for unet, motion in networks(model, options, KEY):
                assert isinstance(motion, MotionModel)
                stack.enter_context(attached(unet, motion.blocks(), frames, self.strength))
                weights.append(motion.uid)
            stack.enter_context(whole_clips())
            told = marked(options, KEY, frames, self.strength, *weights)
            return executor(model, conds, x_in, timestep, told, *args, **kw)


def motion_of(model: Any) -> Motion | None:
    """The motion model on MODEL."""
    return model.get_attachment(KEY)


def has_motion(model: Any) -> bool:
    """Whether a motion model is on MODEL."""
    return bool(model.get_additional_models_with_key(KEY))


def without_motion(model: Any) -> Any:
    """A clone of MODEL without the motion that `with_motion` put there."""
    model = model.clone()
    model.remove_additional_models(KEY)
    model.remove_attachments(KEY)
    for kind in _WRAPPERS:
        model.remove_wrappers_with_key(kind, KEY)
    return model


def with_motion(
    model: Any, motion: Motion, strength: float = 1.0, start_percent: float = 0.0, end_percent: float = 1.0
) -> Any:
    """A clone of MODEL that makes clips: the batch it samples is one clip of consecutive frames.

    A motion model applied before is replaced: two sets of temporal layers on one UNet are not what either was
    trained for. At strength 0 nothing is attached.

    Raises ValueError for a base that is not SD1.5, or another size than the motion model was made for.
    """
    check_base(model)
    check_motion_fits(model.get_model_object("diffusion_model"), motion.model.config.modules(), motion.name)
    check_range(start_percent, end_percent)
    model = without_motion(model)
    if strength == 0:
        return model
    patch = MotionPatch(motion.model.config.max_frames, strength, start_percent, end_percent)
    model.set_attachments(KEY, motion)  # where a reference image finds its encoder
    model.set_additional_models(KEY, [on_device_of(model, motion.patcher)])
    replace_wrapper(model, WrappersMP.CALC_COND_BATCH, KEY, patch.evaluate)
    replace_wrapper(model, WrappersMP.APPLY_MODEL, KEY, tell_compiler(KEY))
    replace_wrapper(model, WrappersMP.OUTER_SAMPLE, KEY, watch_length(patch.max_frames))
    watch_control(model)
    return model
