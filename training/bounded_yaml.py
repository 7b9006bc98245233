"""YAML of a stranger, in bounded time: plain values only, no key twice, no nesting or number beyond use."""

from __future__ import annotations

from typing import Any

import yaml

MAX_BYTES, MAX_DEPTH, MAX_VALUES = 2**18, 32, 20_000
MAX_SCALAR = 400  # characters of a value that is no text
MAX_NUMBER = 2**127
MAX_MESSAGE = 300  # characters


class UnusableYaml(ValueError):
    """Why a text is no YAML that a config can be made of."""


def load(text: str) -> Any:
    """The value of a YAML text. Raises UnusableYaml."""
    if len(text) > MAX_BYTES:
        raise UnusableYaml(f"got {len(text)} characters, expected up to {MAX_BYTES}")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UnusableYaml(shown(error)) from None
    except RecursionError:
        raise UnusableYaml(f"got values nested deeper than {MAX_DEPTH}") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # What the library does not foresee: a date of month 13, a tag that does not fit its value.
        raise UnusableYaml(f"got a value that does not fit its kind ({shown(error)})") from None
    check(value)
    return value


def check(value: Any, depth: int = MAX_DEPTH) -> None:
    """Count `value` as it would be written out. Raises UnusableYaml for one beyond use."""
    left = [MAX_VALUES]
    _check(value, depth, left)


def _check(value: Any, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if left[0] < 0:
        raise UnusableYaml(f"got more than {MAX_VALUES} values")
    if depth < 0:
        raise UnusableYaml(f"got values nested deeper than {MAX_DEPTH}")
    if isinstance(value, str) and "\0" in value:
        raise UnusableYaml(f"got a zero byte in {shown(value)!r}")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise UnusableYaml("got a number of more digits than any setting has")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth - 1, left)
            _check(item, depth - 1, left)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _check(item, depth - 1, left)


def shown(value: Any) -> str:
    """A foreign value or message as one short line of printable characters."""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # a number of more digits than Python prints
        return f"a value of type {type(value).__name__} too long to show"
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_MESSAGE])
    line = " ".join(line.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}..."


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts nesting, refuses a key that is there twice, and looks at numbers' length."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            event = self.peek_event()
            raise yaml.MarkedYAMLError(None, None, f"values nested deeper than {MAX_DEPTH}", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        if node.tag != "tag:yaml.org,2002:str" and len(getattr(node, "value", "")) > MAX_SCALAR:
            raise yaml.MarkedYAMLError(
                None, None, f"a value of {len(node.value)} characters that is no text", node.start_mark
            )
        return super().construct_scalar(node)

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_VALUES:
            raise yaml.MarkedYAMLError(
                None, None, f"more than {MAX_VALUES} keys merged into one place", node.start_mark
            )

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse a key that is there twice, before merged keys come in: those give way."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = (key.tag, key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {shown(key.value)!r} is there twice", key.start_mark
                )
            seen.add(name)
        return node
