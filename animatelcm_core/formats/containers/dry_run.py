"""A pickle of weights run on inert stand-ins: what it would build, before PyTorch builds it.

The steps are those that PyTorch's `weights_only` loader knows. Nothing is imported, called or allocated here:
a storage is its number of bytes, a tensor its shape, and every other object its name. What is checked is what
could cost PyTorch memory or time that the file's size does not justify: storages larger than the file,
tensors larger than their storage, `bytearray(3 * 2**30)`, keys that are slow to look up.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import IO, Any

import torch

from ..errors import FormatError
from ..limits import MAX_EXPANDED, MAX_RANK, MAX_SIZE, MAX_STEPS
from ..words import shown

CHOOSE = "Choose a file of plain weights."
_DICTS = ("collections.OrderedDict", "collections.Counter")
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_SPECIAL = {
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without numbers",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
    "_rebuild_device_tensor_from_numpy": "a tensor of another device",
    "_rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
}


class ForeignCode(Exception):
    """The pickle names something that weights do not need."""


class Damage(Exception):
    """The pickle does what no writer of weights makes it do."""


@dataclass(eq=False)
class Name:
    """`module.name` of a function or class."""

    path: str


@dataclass(eq=False)
class Storage:
    """The numbers of one or several tensors, somewhere in the file."""

    key: str
    size: int
    itemsize: int


@dataclass(eq=False)
class Made:
    """A tensor, or an object that is no container."""

    what: str


def allowed_names() -> dict[str, Any]:
    """What PyTorch's own `weights_only` loader lets a file name, with what the host has added to it."""
    from torch._weights_only_unpickler import _get_allowed_globals

    allowed: dict[str, Any] = dict(_get_allowed_globals())
    for entry in torch.serialization.get_safe_globals():
        value, name = entry if isinstance(entry, tuple) else (entry, None)
        allowed.setdefault(name or f"{value.__module__}.{value.__qualname__}", None)
    return allowed


def global_name(argument: object) -> str:
    """`module.name` from the argument of GLOBAL, as Python 3 calls it."""
    module, _, name = str(argument).partition(" ")
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


@dataclass
class DryRun:
    """Runs pickles of one file; `storages` are all that they speak of, by key.

    legacy: the form before PyTorch 1.6. room: bytes of the file, which hold all storages.
    """

    name: str
    legacy: bool
    room: int
    storages: dict[str, Storage] = field(default_factory=dict)
    allowed: dict[str, Any] = field(default_factory=allowed_names)
    steps: int = 0
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, file: IO[bytes]) -> Any:
        """The inert contents of the next pickle in `file`.

        Raises FormatError for what is over a bound, ForeignCode and Damage, and all that a damaged pickle
        brings about (IndexError, KeyError, ValueError ...).
        """
        self.stack, self.marks, self.memo = [], [], {}
        for operation, argument, _ in pickletools.genops(file):
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self._over(f"more than {MAX_STEPS:,} steps to build it", "fewer")
            if operation.name == "STOP":
                return self.stack.pop()
            step = _STEPS.get(operation.name)
            if step is None:
                raise Damage(operation.name)
            step(self, argument)
        raise Damage("no end")

    def _over(self, got: str, expected: str) -> FormatError:
        return FormatError(f"{self.name} with {got}", expected, CHOOSE)

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, argument: object) -> None:
        path = global_name(argument)
        if path not in self.allowed:
            raise ForeignCode(path)
        self.stack.append(Name(path))

    def persistent(self, _argument: object) -> None:
        pid = self.stack.pop()
        if not isinstance(pid, tuple) or len(pid) != (6 if self.legacy else 5):
            raise Damage("persistent id")
        if pid[0] != "storage" or not isinstance(pid[1], Name):
            raise Damage("persistent id")
        dtype = getattr(self.allowed[pid[1].path], "dtype", None)
        itemsize = dtype.itemsize if isinstance(dtype, torch.dtype) else 1
        key, numel = pid[2], pid[4]
        if not isinstance(key, str) or not is_size(numel):
            raise Damage("storage")
        if key not in self.storages:
            self.storages[key] = Storage(key, numel * itemsize, itemsize)
            self.room -= numel * itemsize
            if self.room < 0:
                raise self._over("more numbers than bytes", "numbers that fit into the file")
        self.stack.append(self._view(self.storages[key], pid[5]) if self.legacy else self.storages[key])

    def _view(self, storage: Storage, view: object) -> Storage:
        """A part of a storage, as files of the first versions of PyTorch have them."""
        if view is None:
            return storage
        if not isinstance(view, tuple) or len(view) != 3 or not all(is_size(part) for part in view[1:]):
            raise Damage("view")
        if (view[1] + view[2]) * storage.itemsize > storage.size:
            raise Damage("view")
        return Storage(storage.key, view[2] * storage.itemsize, storage.itemsize)

    def reduce(self, _argument: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, arguments))

    def call(self, function: object, arguments: object) -> Any:
        """What a function that PyTorch allows would return. Only a few are needed, and only with few kinds
        of arguments."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Damage("call")
        path, short = function.path, function.path.rpartition(".")[2]
        if path in _TENSORS:
            return self._tensor(arguments[0], arguments[1:4], None)
        if path == "torch._utils._rebuild_tensor_v3":
            return self._tensor(arguments[0], arguments[1:4], arguments[6])
        if path in _PARAMETERS and isinstance(arguments[0], Made):
            return arguments[0]
        if path == "torch._tensor._rebuild_from_type_v2":
            return self.call(arguments[0], arguments[2])
        if short in _SPECIAL:
            raise self._over(_SPECIAL[short], "plain tensors")
        if path in _DICTS:
            return _table(arguments)
        if path == "_codecs.encode" and isinstance(arguments[0], str) and arguments[1:] == ("latin1",):
            return arguments[0].encode("latin1")
        if path == "builtins.set" and isinstance(arguments[0], list):
            return set(map(check_key, arguments[0]))
        return self._plain(path, arguments)

    def _plain(self, path: str, arguments: tuple[Any, ...]) -> Any:
        """Small objects, which training scripts put beside the weights."""
        if path == "torch.Size" and all(is_size(size) for size in arguments[0]):
            return tuple(arguments[0])
        small = path in ("torch.device", "torch.serialization._get_layout", "builtins.complex")
        if small and all(isinstance(a, str | int | float) for a in arguments):
            return Made(path)
        if path == "builtins.bytearray" and all(isinstance(a, bytes) for a in arguments):
            return Made(path)
        if self.allowed[path] is None:  # the host's own, such as numpy's scalars
            if path.endswith(".scalar") and not (len(arguments) == 2 and isinstance(arguments[1], bytes)):
                raise Damage("scalar")
            return Made(path)
        raise self._over(f"{shown(path)} called by it", "plain tensors")

    def _tensor(self, storage: object, layout: tuple[Any, ...], dtype: object) -> Made:
        """A tensor that lies within its storage and is no larger."""
        offset, sizes, strides = layout
        itemsize = getattr(getattr(torch, dtype.path[6:]), "itemsize", 1) if isinstance(dtype, Name) else None
        if not isinstance(storage, Storage) or not isinstance(sizes, tuple) or not isinstance(strides, tuple):
            raise Damage("tensor")
        if len(sizes) != len(strides) or not all(is_size(n) for n in (offset, *sizes, *strides)):
            raise Damage("tensor")
        itemsize, numel = itemsize or storage.itemsize, prod(sizes)
        if len(sizes) > MAX_RANK or any(size > MAX_SIZE for size in sizes):
            raise self._over(f"a tensor of shape {shown(sizes)}", "sizes that can be")
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if numel and (last + 1) * itemsize > storage.size:
            raise self._over(f"a tensor of shape {shown(sizes)} outside its numbers", "all of its numbers")
        if numel > MAX_EXPANDED and numel * itemsize > storage.size:
            raise self._over(
                f"a tensor of shape {shown(sizes)} on {storage.size:,} bytes", "a number for each place"
            )
        return Made("tensor")

    def new(self, _argument: object) -> None:
        _arguments, cls = self.stack.pop(), self.stack.pop()
        if isinstance(cls, Name) and cls.path in _DICTS:
            self.stack.append({})
        elif isinstance(cls, Name) and self.allowed[cls.path] is None:
            self.stack.append(Made(cls.path))
        else:
            raise Damage("object")

    def build(self, _argument: object) -> None:
        self.stack.pop()
        target = self.stack[-1]
        # The state of a tensor would be other numbers for it.
        if not isinstance(target, dict) and not (isinstance(target, Made) and target.what in self.allowed):
            raise Damage("state")

    def set_items(self, items: list[Any]) -> None:
        _set(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def set_item(self, _argument: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set(self.stack[-1], [(key, value)])

    def append(self, items: Iterable[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Damage("list")
        self.stack[-1].extend(items)

    def pack(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise Damage("tuple")
        self.stack[-count:] = [items]

    def close(self, _argument: object) -> None:
        items = self.pop_mark()
        self.stack.append((*items,))

    def mark(self, _argument: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def put(self, index: Any) -> None:
        self.memo[index] = self.stack[-1]


def is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 2**63


def check_key(key: Any) -> Any:
    """The key of a table, if it is quick to look up: nested tuples and huge numbers are not."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if part is not None and not isinstance(part, str | bytes | int | float):
            raise Damage("key")
        if isinstance(part, int) and part.bit_length() > 63:
            raise Damage("key")
    return key


def _set(table: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    if type(table) is not dict:
        raise Damage("table")
    for key, value in pairs:
        table[check_key(key)] = value


def _table(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A dictionary of nothing, of another one, or of a list of pairs."""
    table: dict[Any, Any] = {}
    for content in arguments[:1]:
        if isinstance(content, dict):
            table.update(content)
        elif isinstance(content, list):
            _set(table, _pairs(content))
        else:
            raise Damage("table")
    return table


def _pairs(content: list[Any]) -> Iterator[tuple[Any, Any]]:
    for pair in content:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Damage("pair")
        yield pair[0], pair[1]


# The steps that PyTorch's loader knows. Their names: pickletools.opcodes.
_STEPS = {
    "PROTO": lambda run, a: None,
    "NONE": lambda run, a: run.stack.append(None),
    "NEWTRUE": lambda run, a: run.stack.append(True),
    "NEWFALSE": lambda run, a: run.stack.append(False),
    **{
        name: lambda run, a: run.stack.append(a)
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")
    },
    "EMPTY_DICT": lambda run, a: run.stack.append({}),
    "EMPTY_LIST": lambda run, a: run.stack.append([]),
    "EMPTY_SET": lambda run, a: run.stack.append(set()),
    "EMPTY_TUPLE": lambda run, a: run.stack.append(()),
    "TUPLE": DryRun.close,
    "TUPLE1": lambda run, a: run.pack(1),
    "TUPLE2": lambda run, a: run.pack(2),
    "TUPLE3": lambda run, a: run.pack(3),
    "MARK": DryRun.mark,
    "APPEND": lambda run, a: run.append([run.stack.pop()]),
    "APPENDS": lambda run, a: run.append(run.pop_mark()),
    "SETITEM": DryRun.set_item,
    "SETITEMS": lambda run, a: run.set_items(run.pop_mark()),
    **{name: DryRun.put for name in ("BINPUT", "LONG_BINPUT")},
    **{name: lambda run, a: run.stack.append(run.memo[a]) for name in ("BINGET", "LONG_BINGET")},
    "GLOBAL": DryRun.find,
    "BINPERSID": DryRun.persistent,
    "REDUCE": DryRun.reduce,
    "NEWOBJ": DryRun.new,
    "BUILD": DryRun.build,
}
