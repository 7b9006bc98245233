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

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import nn

from ..attach import AttachError, attached
from ..motion_module import MotionModel
from .checks import check_base, check_frames, check_motion_fits
from .motion import Motion, on_device_of
from .watch import replace_wrapper, watch_length

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

    def active(self, sampling: Any, timestep: torch.Tensor) -> bool:
        """Whether noise level timestep[0] (a sigma) lies in the range, as the host reads percentages."""
        if self.start_percent <= 0 and self.end_percent >= 1:
            return True
        sigma = float(timestep[0])
        first, last = (sampling.percent_to_sigma(p) for p in (self.start_percent, self.end_percent))
        return last <= sigma <= first

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
        if not self.active(model.model_sampling, timestep):
            return executor(model, conds, x_in, timestep, options, *args, **kw)
        frames = x_in.shape[0]
        check_frames(frames, self.max_frames)
        pairs = list(_pairs(model, options))
        with ExitStack() as stack:
            for unet, motion in pairs:
                stack.enter_context(attached(unet, motion.blocks(), frames, self.strength))
            try:
                marked = self._marked(options, frames, [motion for _, motion in pairs])
                return executor(model, conds, x_in, timestep, marked, *args, **kw)
            except AttachError as error:
                raise ValueError(
                    f"{error}. Another node on this MODEL evaluates the frames in parts; remove it, or let "
                    "it work on the whole clip."
                ) from error

    def _marked(self, options: dict[str, Any], frames: int, motions: list[MotionModel]) -> dict[str, Any]:
        """`options` with a mark of what is attached; the caller's dicts stay as they are."""
        transformer = dict(options.get("transformer_options", {}))
        transformer[KEY] = "/".join([KEY, str(frames), str(self.strength), *(str(m.uid) for m in motions)])
        return {**options, "transformer_options": transformer}

    def tell_compiler(self, executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kw: Any) -> Any:
        """APPLY_MODEL wrapper: a compiled UNet gets the mark as the name of one more (unused) argument.

        Compiled code does not look at hooks, nor, by the host's own compile node, at transformer_options: it
        would be used again for another frame count, another motion model or none. It does look at the names
        of its arguments.
        """
        options = kw.get("transformer_options") or args[3]
        mark = options.get(KEY)
        if mark and _is_compiled(executor.class_obj, options):
            kw[mark] = True
        return executor(x, t, *args, **kw)


def _is_compiled(base_model: Any, options: dict[str, Any]) -> bool:
    """Whether torch.compile is at work: an object patch, or the host's wrapper, before or after ours."""
    by_wrapper = COMPILE_KEY in options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return by_wrapper or hasattr(base_model.diffusion_model, "_orig_mod")


def _pairs(model: Any, options: dict[str, Any]) -> Iterator[tuple[nn.Module, MotionModel]]:
    """Each UNet that this evaluation runs on (one per device) with its motion model."""
    clones = options.get("multigpu_clones")
    patchers = list(clones.values()) if clones else [model.current_patcher]
    for patcher in patchers:
        for motion in patcher.get_additional_models_with_key(KEY):
            yield patcher.model.diffusion_model, motion.model


def has_motion(model: Any) -> bool:
    """Whether a motion model is on MODEL."""
    return bool(model.get_additional_models_with_key(KEY))


def without_motion(model: Any) -> Any:
    """A clone of MODEL without the motion that `with_motion` put there."""
    model = model.clone()
    model.remove_additional_models(KEY)
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
    if start_percent > end_percent:
        raise ValueError(
            f"got start_percent {start_percent:g} after end_percent {end_percent:g}; expected start before "
            "end. Swap them: 0 is the beginning of sampling, 1 its end."
        )
    model = without_motion(model)
    if strength == 0:
        return model
    patch = MotionPatch(motion.model.config.max_frames, strength, start_percent, end_percent)
    model.set_additional_models(KEY, [on_device_of(model, motion.patcher)])
    replace_wrapper(model, WrappersMP.CALC_COND_BATCH, KEY, patch.evaluate)
    replace_wrapper(model, WrappersMP.APPLY_MODEL, KEY, patch.tell_compiler)
    replace_wrapper(model, WrappersMP.OUTER_SAMPLE, KEY, watch_length(patch.max_frames))
    return model
