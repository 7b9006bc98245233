"""What one evaluation of a MODEL is about: where on the schedule, which frames, on which networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ...attach import AttachError


def within(sampling: Any, timestep: torch.Tensor, start_percent: float, end_percent: float) -> bool:
    """Whether noise level timestep[0] (a sigma) lies in the range, as the host reads percentages."""
    if start_percent <= 0 and end_percent >= 1:
        return True
    sigma = float(timestep[0])
    first, last = (sampling.percent_to_sigma(p) for p in (start_percent, end_percent))
    return last <= sigma <= first


def check_range(start_percent: float, end_percent: float) -> None:
    """ValueError unless the range goes forward."""
    if start_percent > end_percent:
        raise ValueError(
            f"got start_percent {start_percent:g} after end_percent {end_percent:g}; expected start before "
            "end. Swap them: 0 is the beginning of sampling, 1 its end."
        )


def frames_shown(options: dict[str, Any], count: int) -> list[int]:
    """Numbers, from 0 in the whole clip, of the `count` frames that this evaluation is handed."""
    return window_of(options, count) or list(range(count))


def window_of(options: dict[str, Any], count: int) -> list[int] | None:
    """Numbers of the frames in the context window of `count` frames that is evaluated, None without one.

    The host's own kind of window (`context_window`; ComfyUI 0.24 and later may put one frame in front), or
    AnimateDiff-Evolved's (`ad_params`).
    """
    transformer = options.get("transformer_options", {})
    window = transformer.get("context_window")
    if window is not None and getattr(window, "dim", 0) == 0:
        shown = list(window.index_list)
        anchor = getattr(window, "causal_anchor_index", None)
        if anchor is not None and anchor >= 0:
            shown = [anchor, *shown]
        if len(shown) == count:
            return shown
    shown = (transformer.get("ad_params") or {}).get("sub_idxs")
    if shown is not None and len(shown) == count:
        return list(shown)
    return None


@contextmanager
def whole_clips() -> Iterator[None]:
    """Says in a user's words that the UNet was given other frames than the evaluation was handed."""
    try:
        yield
    except AttachError as error:
        raise ValueError(
            f"{error}. Another node on this MODEL evaluates the frames in parts; remove it, or let it work "
            "on the whole clip."
        ) from error


def networks(model: Any, options: dict[str, Any], key: str) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each UNet that this evaluation runs on (one per device) with its additional models under `key`.

    Looked up on every call: conditioning hooks, torch.compile and device nodes evaluate on other instances
    than were there when a node patched the MODEL.
    """
    clones = options.get("multigpu_clones")
    patchers = list(clones.values()) if clones else [model.current_patcher]
    for patcher in patchers:
        for additional in patcher.get_additional_models_with_key(key):
            yield patcher.model.diffusion_model, additional.model
