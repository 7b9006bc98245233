"""Hangs what this pack adds to a MODEL, all under one key, and takes it off again.

Wrappers run around the host's steps, additional models are loaded with the MODEL, an attachment is looked up
by other patches. Clones of the MODEL carry all three along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def hang(
    model: Any,
    key: str,
    wrappers: Mapping[str, Any],
    additional: Sequence[Any] = (),
    attachment: object = None,
) -> None:
    """Hang these on `model` (a clone of the caller's) in place of what hangs there under `key`.

    wrappers: kind (of the host's `WrappersMP`) -> wrapper. additional: ModelPatchers.
    """
    unhang(model, key)
    for kind, wrapper in wrappers.items():
        model.add_wrapper_with_key(kind, key, wrapper)
    if additional:
        model.set_additional_models(key, list(additional))
    if attachment is not None:
        model.set_attachments(key, attachment)


def unhang(model: Any, key: str) -> None:
    """Take off `model` (a clone of the caller's) whatever `hang` put there under `key`."""
    for kind in list(model.wrappers):
        model.remove_wrappers_with_key(kind, key)
    model.remove_additional_models(key)
    model.remove_attachments(key)
