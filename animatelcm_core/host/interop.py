"""What is known of other packs: how they say which frames a model sees, and how they listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WINDOW = "ad_params"  # where AnimateDiff-Evolved says it; IP-Adapter nodes listen there


def window_of(transformer_options: dict[str, Any]) -> list[int] | None:
    """Frame numbers of AnimateDiff-Evolved's context window, None without one."""
    shown = (transformer_options.get(_WINDOW) or {}).get("sub_idxs")
    return None if shown is None else list(shown)


def told_window(options: dict[str, Any], shown: Sequence[int], frames: int) -> dict[str, Any]:
    """`options` of one evaluation that say which of the clip's frames are shown, as AnimateDiff-Evolved does.

    Its own words stay; so do the caller's dicts.
    """
    transformer = dict(options.get("transformer_options", {}))
    words = {"sub_idxs": list(shown), "full_length": frames, "context_length": len(shown)}
    transformer.setdefault(_WINDOW, words)
    return {**options, "transformer_options": transformer}


def cuts_itself(control: Any) -> bool:
    """Whether this is one of ComfyUI-Advanced-ControlNet, which chooses its hints itself (SparseCtrl)."""
    return hasattr(control, "sub_idxs")


def tell_control(control: Any, shown: Sequence[int], frames: int) -> None:
    """Tell a control that `cuts_itself` which of the clip's frames are shown."""
    control.sub_idxs, control.full_latent_length, control.context_length = list(shown), frames, len(shown)
