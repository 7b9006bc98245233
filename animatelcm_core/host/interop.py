"""What other packs expect: how they announce the frames of a window, and how we announce ours to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WINDOW = "ad_params"  # where AnimateDiff-Evolved announces its window; IP-Adapter nodes read it


def window_of(transformer_options: dict[str, Any]) -> list[int] | None:
    """Frame numbers of AnimateDiff-Evolved's context window, None without one."""
    window = (transformer_options.get(_WINDOW) or {}).get("sub_idxs")
    return None if window is None else list(window)


def options_with_window(options: dict[str, Any], window: Sequence[int], frames: int) -> dict[str, Any]:
    """A copy of one evaluation's `options` that announces the frames `window`, as AnimateDiff-Evolved does.

    An announcement that is already there stays. The caller's dicts are not changed.
    """
    transformer = dict(options.get("transformer_options", {}))
    words = {"sub_idxs": list(window), "full_length": frames, "context_length": len(window)}
    transformer.setdefault(_WINDOW, words)
    return {**options, "transformer_options": transformer}


def picks_its_hints(control: Any) -> bool:
    """Whether this control is ComfyUI-Advanced-ControlNet's, which picks the hints itself (SparseCtrl)."""
    return hasattr(control, "sub_idxs")


def tell_control(control: Any, window: Sequence[int], frames: int) -> None:
    """Tell a control that `picks_its_hints` which of the clip's frames it is evaluated on."""
    control.sub_idxs, control.full_latent_length, control.context_length = list(window), frames, len(window)
