"""The motion patch: a MODEL's image UNet becomes a video UNet while one evaluation runs.

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
from dataclasses import dataclass, replace
from typing import Any

from comfy.patcher_extension import WrappersMP

from ...attach import attached
from ...motion_module import MotionModel
from ..checks import check_base, check_frames, check_motion_fits
from ..compat import clone_for
from ..load.motion import Motion, Names
from .attachment import hang, unhang
from .compiled import marked, tell_compiler
from .control_hints import watch_control
from .evaluation import ALWAYS, Evaluation, Range, around, explain_split_clips, networks
from .run_wrappers import watch_length

KEY = "animatelcm.motion"


@dataclass(frozen=True)
class MotionPatch:
    """One application of a motion model. Holds no weights: clones and copies of a MODEL copy its wrappers.

    `strength` scales the residual of every temporal module. names: names of the networks that may run.
    """

    max_frames: int
    strength: float
    active: Range
    names: Names

    def prepare(self, call: Evaluation, stack: ExitStack) -> Evaluation:
        """Hook the temporal modules into every UNet that the evaluation runs on."""
        if not self.active.covers(call):
            return call
        frames = call.x_in.shape[0]
        check_frames(frames, self.max_frames)
        weights: list[str] = []
        for unet, motion in networks(call, KEY):
            assert isinstance(motion, MotionModel)
            stack.enter_context(attached(unet, motion.blocks(), frames, self.strength))
            weights.append(self.names.of(motion))
        stack.enter_context(explain_split_clips())
        return replace(call, options=marked(call.options, KEY, frames, self.strength, *weights))


def motion_of(model: Any) -> Motion | None:
    """The motion model on MODEL."""
    return model.get_attachment(KEY)


def has_motion(model: Any) -> bool:
    """Whether a motion model is on MODEL."""
    return bool(model.get_additional_models_with_key(KEY))


def with_motion(model: Any, motion: Motion, strength: float = 1.0, active: Range = ALWAYS) -> Any:
    """A clone of MODEL that makes clips: the batch it samples is one clip of consecutive frames.

    A motion model applied before is replaced: two sets of temporal layers on one UNet are not what either was
    trained for. At strength 0 nothing is attached.

    Raises ValueError for a base that is not SD1.5, or another size than the motion model was made for.
    """
    check_base(model)
    check_motion_fits(model.get_model_object("diffusion_model"), motion.model.config.modules(), motion.name)
    active.check()
    model = model.clone()
    unhang(model, KEY)
    if strength == 0:
        return model
    patch = MotionPatch(motion.model.config.max_frames, strength, active, motion.names)
    wrappers = {
        WrappersMP.CALC_COND_BATCH: around(patch.prepare),
        WrappersMP.APPLY_MODEL: tell_compiler(KEY),
        WrappersMP.OUTER_SAMPLE: watch_length(patch.max_frames),
    }
    # The motion is attached too: a reference image finds its encoder there.
    hang(model, KEY, wrappers, additional=[clone_for(model, motion.patcher)], attachment=motion)
    watch_control(model)
    return model
