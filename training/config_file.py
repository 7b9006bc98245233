"""Config files: YAML that may extend another file of its folder, and changes by `--set`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import bounded_yaml
from .bounded_yaml import UnusableYaml, shown
from .data.regular import why_irregular

MAX_EXTENDS, MAX_SECTIONS = 16, 16


class ConfigError(ValueError):
    """A config that cannot run: got, expected, what to do."""


def read_extended(path: Path, read: Callable[[Path], dict[str, Any]] | None = None) -> dict[str, Any]:
    """The values in `path` over those of the file that it extends. Raises ConfigError.

    read: gives the values of one file, by default `parse`.
    """
    return _read_extended(path, path.parent, (), read or parse)


def _read_extended(
    path: Path, root: Path, seen: tuple[Path, ...], read: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    values = read(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    wrong = f"got extends: {shown(parent)} in {path}; expected another file of the same folder"
    if not isinstance(parent, str) or not parent or len(seen) >= MAX_EXTENDS:
        raise ConfigError(wrong)
    try:
        source = (path.parent / parent).resolve()
    except (OSError, RuntimeError):  # a loop of links, a name too long
        raise ConfigError(wrong) from None
    if source in seen or not source.is_relative_to(root.resolve()):
        raise ConfigError(wrong)
    return deep_merge(_read_extended(source, root, (*seen, source), read), values)


def parse(path: Path) -> dict[str, Any]:
    """A YAML file as a dict. Raises ConfigError."""
    trouble = why_irregular(path)
    if trouble:
        raise ConfigError(f"got {shown(path)}; expected a readable text file ({trouble})")
    try:
        with path.open("rb") as file:
            text = file.read(4 * bounded_yaml.MAX_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"got {path}; expected a readable text file ({error})") from None
    try:
        values = bounded_yaml.load(text)
    except UnusableYaml as error:
        raise ConfigError(f"got {path}; expected valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"got {path}; expected keys and values, such as `stage: video`")
    return values


def deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `base`; sections merge key by key, a section with another `kind` replaces the whole."""
    out = dict(base)
    for key, value in over.items():
        mine = out.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            same = value.get("kind", mine.get("kind")) == mine.get("kind")
            value = deep_merge(mine, value) if same else value
        out[key] = value
    return out


def apply_change(values: dict[str, Any], change: str) -> None:
    """Set what `change` says, a.b=value with YAML for the value. Raises ConfigError."""
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise ConfigError(f"got --set {shown(change)}; expected a.b=value")
    *sections, last = name.split(".")
    if len(sections) > MAX_SECTIONS or "\0" in name:
        raise ConfigError(f"got --set {shown(change)}; expected the name of a setting, as in the config")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"got --set {shown(change)}; {section} is a value, not a section")
    try:
        value = bounded_yaml.load(text)
    except UnusableYaml as error:
        raise ConfigError(
            f"got --set {shown(change)}; expected valid YAML after the equals sign: {error}"
        ) from None
    values[last] = _number(value) if isinstance(value, str) else value


def _number(text: str) -> str | float:
    """YAML reads 1e-5 as text; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text
