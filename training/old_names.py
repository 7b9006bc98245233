"""Renames old config keys on reading, for one release, and reports each one once on stderr.

Files are renamed one by one, before they are merged; `--set` paths as they come.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

from . import config_file
from .config_file import ConfigError

MOVED = {
    "optim.rate": "optim.lr",
    "optim.clip": "optim.max_grad_norm",
    "average": "ema_decay",
    "adapter.drop": "adapter.caption_dropout",
    "adapt.reading": "image_encoder.reading",
    "adapt.motion": "image_encoder.motion",
    "adapt.motion_rate": "image_encoder.motion_rate",
    "adapt.motion_scale": "image_encoder.motion_scale",
    "adapt.stills": "image_encoder.static_share",
    "adapt.adapter": "control.adapter",
    "adapt.hint": "control.hint",
}
"""Old key -> new key."""

KINDS = {
    "image_encoder": ("image-to-video", None),
    "controlnet_lora": ("control", "controlnet"),
    "t2i_adapter_lora": ("control", "t2i_adapter"),
}
"""`adapt.kind` of the old stage `adapt` -> the new stage, and its `control.kind`."""

SECTIONS = {"image-to-video": "image_encoder", "control": "control"}
COMMANDS = {"adapt": tuple(SECTIONS)}
"""Old command -> the new stages that it stood for."""


def renamed(values: dict[str, Any], source: str, reported: set[str]) -> dict[str, Any]:
    """The values of one file under their new names. reported: old names that need no further report.

    `stage: adapt` and `adapt.kind` stay until all files are merged: see `settle`. A kind takes the place of
    another: None as the other's section replaces what a merged file has there. Raises ConfigError for a value
    that has both names.
    """
    out = copy.deepcopy(values)
    for old, new in MOVED.items():
        if not _has(out, old):
            continue
        if _has(out, new):
            raise ConfigError(f"got {old} and {new} in {source}; expected {new} alone: they are one value")
        _put(out, new, _take(out, old))
        _report(old, new, reported)
    stage, kind = KINDS.get(_kind(out), ("", None))
    if kind is not None:
        if _has(out, "control.kind"):
            raise ConfigError(f"got adapt.kind and control.kind in {source}; expected control.kind alone")
        _put(out, "control.kind", kind)
        _report("adapt.kind", "control.kind", reported)
    elif stage:
        _report("adapt.kind", f"stage: {stage}", reported)
    for other, section in SECTIONS.items() if stage else ():
        if other != stage:
            out.setdefault(section, None)
    return out


def apply_change(values: dict[str, Any], change: str, reported: set[str]) -> None:
    """Apply a `--set` of old or new names to `values`. Raises ConfigError."""
    name, equals, text = change.partition("=")
    if "." not in name:  # a value, or a section as a whole
        single: dict[str, Any] = {}
        config_file.apply_change(single, change)
        for section in ("adapt", *SECTIONS.values()) if name == "adapt" else ():
            values.pop(section, None)
        values.update(renamed(single, f"--set {change}", reported))
        return
    if name == "adapt.kind" and text in KINDS:
        _put(values, name, text)
        stage, kind = KINDS[text]
        _report(name, "control.kind" if kind else f"stage: {stage}", reported)
        if kind is None:  # `settle` does the rest
            return
        change = f"control.kind={kind}"
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            _report(old, new, reported)
            change = f"{new}{name.removeprefix(old)}{equals}{text}"
    _drop_replaced(values)  # a section that is set again is one, and `settle` leaves it to be refused
    config_file.apply_change(values, change)


def settle(values: dict[str, Any], reported: set[str]) -> None:
    """Turn the old stage `adapt` into the new one, once all files are merged."""
    _drop_replaced(values)
    if values.get("stage") not in ("adapt", *SECTIONS):
        return
    known = KINDS.get(_kind(values))
    if known is not None:
        del values["adapt"]["kind"]
    if values.get("adapt") in ({}, None):
        values.pop("adapt", None)
    if values["stage"] != "adapt" and known is None:
        return
    stage = known[0] if known else "control" if "control" in values else "image-to-video"
    if values.get("stage") == "adapt":
        _report("stage: adapt", f"stage: {stage}", reported)
    values["stage"] = stage


def _drop_replaced(values: dict[str, Any]) -> None:
    for section in SECTIONS.values():
        if section in values and values[section] is None:
            del values[section]


def with_old_names(values: dict[str, Any]) -> dict[str, Any]:
    """A resolved run under its old names, which fingerprints of older checkpoints were made of."""
    out = copy.deepcopy(values)
    for old, new in MOVED.items():
        if _has(out, new):
            _put(out, old, _take(out, new))
    stage = out["stage"]
    if stage in SECTIONS:
        own = out.pop(SECTIONS[stage], {})
        kind = f"{own['kind']}_lora" if "kind" in own else "image_encoder"
        out["stage"], out["adapt"] = "adapt", {**out["adapt"], "kind": kind}
    return out


def _kind(values: dict[str, Any]) -> str:
    section = values.get("adapt")
    return str(section.get("kind")) if isinstance(section, dict) else ""


def _has(values: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _take(values: dict[str, Any], name: str) -> Any:
    *sections, last = name.split(".")
    for section in sections:
        values = values[section]
    return values.pop(last)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = value


def _report(old: str, new: str, reported: set[str]) -> None:
    if old not in reported:
        print(f"{old} is now {new}; the old name will be removed in the next release", file=sys.stderr)
        reported.add(old)
