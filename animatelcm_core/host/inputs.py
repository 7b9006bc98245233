"""What enters a node, checked by the kind that the node's own schema declares for it.

The host checks of which type a link is, not what travels along it: a literal may stand where a link is
expected, a number that comes along a link is held to no range, and NaN passes every one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from operator import attrgetter
from typing import Any

from .checks import check_choice, wrong
from .tensors import check_conditioning, check_image, check_latent, check_mask

Check = Callable[[Any, Any], None]
"""(input of the schema, value) -> nothing, or ValueError."""

SLACK = 1e-6  # a number that other nodes have reckoned may be a little over the end of its range
# What a link may bring beyond the widget's own end: large sizes are slow, and they work.
LINKED_MOST = {"width": 2**14, "height": 2**14}
BY_HAND = "Set it on the node, or look at the node that is linked to it."


def checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    """A node's `execute` behind a check of everything that the host hands it. Raises ValueError."""

    @functools.wraps(execute)
    def run(cls: Any, **given: Any) -> Any:
        check_inputs(cls.define_schema().inputs or [], given)
        return execute(cls, **given)

    return run


def check_inputs(declared: Iterable[Any], given: Mapping[str, Any]) -> None:
    """ValueError for the first of the `declared` inputs whose value is not of its kind."""
    for item in declared:
        kind = str(item.get_io_type())
        if item.id not in given or (given[item.id] is None and item.optional and kind not in WIDGETS):
            continue
        (WIDGETS.get(kind) or LINKS[kind])(item, given[item.id])


def check_number(item: Any, value: Any) -> None:
    """ValueError unless `value` is a number in the input's range; NaN is in none."""
    whole = str(item.get_io_type()) == "INT"
    kind, words, slack = (Integral, "a whole number", 0) if whole else (Real, "a number", SLACK)
    most: Any = LINKED_MOST.get(item.id, item.max)
    if not isinstance(value, kind) or not item.min - slack <= value <= most + slack:
        raise wrong(item.id, value, f"{words} from {_in_words(item.min)} to {_in_words(most)}", BY_HAND)


def _in_words(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def check_switch(item: Any, value: Any) -> None:
    """ValueError unless `value` is true or false; 1 and 0 will do."""
    if not isinstance(value, Integral) or value not in (0, 1):
        raise wrong(item.id, value, "true or false", BY_HAND)


def check_text(item: Any, value: Any) -> None:
    """ValueError unless `value` is text."""
    if not isinstance(value, str):
        raise wrong(item.id, value, "text", BY_HAND)


def check_combo(item: Any, value: Any) -> None:
    """ValueError unless `value` is one of the input's options. Either slash parts folders."""
    if not isinstance(value, str):
        raise wrong(item.id, value, "one of its choices", BY_HAND)
    options = list(item.options or [])
    if value.replace("\\", "/") not in {option.replace("\\", "/") for option in options}:
        check_choice(item.id, value, options)


@dataclass(frozen=True)
class Carries:
    """A check of an object by what it can do: other packs hand on classes of their own.

    attributes: which it has, parts of parts included. never: which it has not. do: what connects here.
    """

    attributes: tuple[str, ...]
    do: str
    never: tuple[str, ...] = ()

    def __call__(self, item: Any, value: Any) -> None:
        fits = all(_has(value, name) for name in self.attributes)
        if not fits or any(_has(value, name) for name in self.never):
            raise wrong(item.id, value, f"a {item.get_io_type()}", self.do)


def _has(value: Any, path: str) -> bool:
    try:
        return attrgetter(path)(value) is not None
    except AttributeError:
        return False


WIDGETS: Mapping[str, Check] = {
    "INT": check_number,
    "FLOAT": check_number,
    "BOOLEAN": check_switch,
    "STRING": check_text,
    "COMBO": check_combo,
}
LINKS: Mapping[str, Check] = {
    "MODEL": Carries(
        ("clone", "get_model_object", "model.model_config"),
        "Connect the MODEL of AnimateLCM Load Checkpoint, or of another loader.",
    ),
    "VAE": Carries(("encode", "decode"), "Connect the VAE of the checkpoint's loader.", never=("tokenize",)),
    "CONTROL_NET": Carries(
        ("get_control", "set_cond_hint", "copy"), "Connect the CONTROL_NET of Load ControlNet Model."
    ),
    "ANIMATELCM_MOTION": Carries(
        ("patcher", "kind", "schedule", "names"), "Connect AnimateLCM Load Motion Model."
    ),
    "IMAGE": check_image,
    "MASK": check_mask,
    "LATENT": check_latent,
    "CONDITIONING": check_conditioning,
}
