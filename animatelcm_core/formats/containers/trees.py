"""From what a pickle holds to a flat table of tensors: wrappers, tables in tables, and their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from ..errors import FormatError
from ..limits import MAX_DEPTH, MAX_ENTRIES, MAX_NAME, MAX_SHARED, SHARED_BYTES

WRAPPERS = ("state_dict", "model", "module", "params")  # names that training scripts put the weights under
CHOOSE = "Choose a weights file."


def unwrap(tree: object, name: str, size: int) -> dict[str, Tensor]:
    """The tensors of a loaded pickle, whatever they are wrapped in; entries that are no tensors are left out.

    Nested mappings that are no known wrapper keep their place in the key, `outer.inner`, so that messages can
    say what the file holds. size: of the file, which the tensors' sizes have to be in proportion to.
    """
    tree = _weights(tree, name)
    tensors: dict[str, Tensor] = {}
    total = 0
    for key, value in _Walk(name).entries(tree, "", MAX_DEPTH):
        tensors[key] = value.detach()
        total += value.nbytes
    if not tensors:
        raise FormatError(f"{name} without a single tensor", "weights", CHOOSE)
    if total > MAX_SHARED * size + SHARED_BYTES:
        raise FormatError(
            f"{name} with tensors of {total:,} bytes in a file of {size:,}", "a number for each place", CHOOSE
        )
    return tensors


def _weights(tree: object, name: str) -> Mapping:
    """The table inside all wrappers."""
    for _ in range(MAX_DEPTH):
        if not isinstance(tree, Mapping):
            raise FormatError(f"a {type(tree).__name__} in {name}", "a table of named tensors", CHOOSE)
        inner = None
        if not any(isinstance(value, Tensor) for value in tree.values()):
            wrapped = (tree[key] for key in WRAPPERS if isinstance(tree.get(key), Mapping))
            inner = next(wrapped, next(iter(tree.values())) if len(tree) == 1 else None)
            if inner is None and len(tree) == 1:
                raise FormatError(f"a NoneType in {name}", "a table of named tensors", CHOOSE)
        if inner is None:
            return tree
        tree = inner
    raise _too_deep(name)


class _Walk:
    """Through all tables of a tree. A table that is met in several places counts in each of them."""

    def __init__(self, name: str):
        self.name, self.met = name, 0

    def entries(self, tree: Mapping, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        if depth == 0:
            raise _too_deep(self.name)
        for key, value in tree.items():
            if not isinstance(value, Tensor | Mapping):
                continue
            self.met += 1
            path = f"{prefix}{key}"
            if self.met > MAX_ENTRIES or len(path) > MAX_NAME:
                raise FormatError(
                    f"{self.name} with more than {MAX_ENTRIES:,} entries, or names over {MAX_NAME} letters",
                    "a table of named tensors",
                    CHOOSE,
                )
            if isinstance(value, Tensor):
                yield path, value
            else:
                yield from self.entries(value, f"{path}.", depth - 1)


def _too_deep(name: str) -> FormatError:
    return FormatError(f"{name} with tables in tables", f"at most {MAX_DEPTH}, one in another", CHOOSE)
