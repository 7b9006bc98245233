"""The windows patch: clips longer than the motion model was trained for, by the host's context windows.

The host evaluates the windows and averages them. What it does not do for frames in the batch is done here:
windows that fit the clip and wrap around, a step that is found whatever the sampler does (ComfyUI 0.3.75
fails there), prompts per frame cut to the window (the same host leaves them whole), noise of later steps in
FreeNoise's order. Hints of ControlNets: control_hints.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.context_windows
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...context import FUSES, SCHEDULES, freenoise_order
from ..checks import check_choice
from ..compat import known_arguments
from ..sampling.lcm import with_noise_order
from .attachment import hang
from .control_hints import watch_control

KEY = "animatelcm.windows"
PREPARE_KEY = "ContextWindows_prepare_sampling"  # the host's own, as its node for windows adds it


@dataclass(frozen=True)
class Windows:
    """How a clip is cut. schedule, fuse: names in `context.SCHEDULES` and `FUSES`.

    length: frames of a window. overlap: frames that neighbours share at least, under length. freenoise: all
    windows start from the same noise in another order.
    """

    length: int = 16
    overlap: int = 4
    schedule: str = "standard"
    fuse: str = "pyramid"
    freenoise: bool = True

    def check(self) -> None:
        """ValueError for what cannot be cut."""
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("fuse", self.fuse, FUSES)
        if not 0 <= self.overlap < self.length:
            raise ValueError(
                f"got an overlap of {self.overlap} frames with context_length {self.length}; expected less "
                "than context_length. Use an overlap of a quarter of it."
            )

    def cut(self, frames: int, step: int) -> list[list[int]]:
        """Frame numbers of each window at this step of the sampler."""
        return SCHEDULES[self.schedule](frames, self.length, self.overlap, step)

    def noise_order(self, frames: int, seed: int) -> list[int] | None:
        """For each frame the frame whose noise it gets; None if all keep their own."""
        shared = self.freenoise and self.schedule != "batched" and frames > self.length
        return freenoise_order(self.cut(frames, 0), frames, seed) if shared else None


class ContextHandler(comfy.context_windows.IndexListContextHandler):
    """The host's handler of windows, on ours. Goes into `model_options` under the host's own key."""

    def __init__(self, windows: Windows):
        host = comfy.context_windows
        settings = {
            "context_schedule": host.ContextSchedule(windows.schedule, _cut),
            "fuse_method": host.ContextFuseMethod(windows.fuse, _weights),
            "context_length": windows.length,
            "context_overlap": windows.overlap,
            "dim": 0,
            # A frame put in front of a window would count as its first, and shift motion by one.
            "causal_window_fix": False,
        }
        super().__init__(**known_arguments(host.IndexListContextHandler.__init__, settings))
        self.windows = windows

    def set_step(self, timestep: Tensor, model_options: dict[str, Any]) -> None:
        """The step whose noise level is nearest: samplers may evaluate between two."""
        sigmas = model_options["transformer_options"]["sample_sigmas"]
        self._step = int((sigmas[:-1] - timestep[0].to(sigmas)).abs().argmin())

    def get_resized_cond(self, cond_in: Any, x_in: Tensor, window: Any, device: Any = None) -> Any:
        """Conditions (dicts of the host) with everything that has one entry per frame cut to the window."""
        if cond_in is None:
            return None
        return [{key: _cut_value(value, x_in.shape[0], window) for key, value in c.items()} for c in cond_in]


def _cut(frames: int, handler: ContextHandler, _options: dict[str, Any]) -> list[list[int]]:
    return handler.windows.cut(frames, handler._step)


def _weights(length: int, handler: ContextHandler, **_known: Any) -> list[float]:
    return FUSES[handler.windows.fuse](length, handler.windows.overlap)


def _cut_value(value: Any, frames: int, window: Any) -> Any:
    """A tensor of the host's conditions, alone, wrapped or in a dict, if its first axis counts the frames."""
    if isinstance(value, dict):
        return {key: _cut_value(inner, frames, window) for key, inner in value.items()}
    if isinstance(value, Tensor):
        return window.get_tensor(value, value.device, dim=0) if _per_frame(value, frames) else value
    inner = getattr(value, "cond", None)
    if isinstance(inner, Tensor) and _per_frame(inner, frames):
        return value._copy_with(window.get_tensor(inner, inner.device, dim=0))
    return value


def _per_frame(tensor: Tensor, frames: int) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] == frames


def with_windows(model: Any, windows: Windows) -> Any:
    """A clone of MODEL that samples long clips in `windows`; others set before are replaced.

    Raises ValueError for settings that cannot be.
    """
    windows.check()
    model = model.clone()
    model.model_options["context_handler"] = ContextHandler(windows)
    model.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, PREPARE_KEY)
    comfy.context_windows.create_prepare_sampling_wrapper(model)  # memory for one window, not the clip
    hang(model, KEY, {WrappersMP.OUTER_SAMPLE: _run})
    watch_control(model)
    return model


def _run(executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, *args: Any, **kw: Any) -> Any:
    """OUTER_SAMPLE wrapper: noise in FreeNoise's order, at the start and, with lcm, between steps."""
    handler = executor.class_obj.model_options.get("context_handler")
    seed = kw.get("seed", args[4] if len(args) > 4 else None)
    order = None
    if isinstance(handler, ContextHandler):  # else another node's windows have replaced ours
        order = handler.windows.noise_order(noise.shape[0], seed or 0)
    if order is not None:
        noise, sampler = noise[order], with_noise_order(sampler, order)
    return executor(noise, latent_image, sampler, *args, **kw)
