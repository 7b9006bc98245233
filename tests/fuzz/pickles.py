"""Generators of PyTorch files whose pickle is hostile: code, odd calls, odd trees, steps at random."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import torch

from . import bases

LEGACY_HEAD = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    + b"\x80\x02M\xe9\x03."
    + (
        b"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03X\r\x00\x00\x00little_endianq\x02\x88u."
    )
)
CODE = (
    "os.system builtins.eval builtins.exec builtins.getattr subprocess.Popen torch.jit.load torch.hub.load "
    "torch.storage._load_from_bytes torch.save torch.load torch.package.PackageImporter torch.fx.Interpreter "
    "torch.serialization.load collections.namedtuple collections.defaultdict numpy.load functools.partial "
    "torch.utils.data.DataLoader codecs.open posix.system nt.system sys.exit torch.nn.Linear pickle.loads"
).split()
ALLOCATORS = (
    "builtins.bytearray torch.FloatTensor torch.Tensor torch.FloatStorage torch.storage.UntypedStorage "
    "torch.Size builtins.set torch.device torch.sparse.FloatTensor _codecs.encode builtins.complex "
    "torch._utils._rebuild_meta_tensor_no_storage collections.Counter collections.OrderedDict"
).split()


class Text:
    """Opcodes of protocol 2, one after the other."""

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")

    def value(self, thing: Any) -> Text:
        if thing is None or isinstance(thing, bool):
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[thing]
        elif isinstance(thing, int):
            data = pickle.encode_long(thing)[:255]
            self.out += b"\x8a" + bytes([len(data)]) + data
        elif isinstance(thing, str):
            data = thing.encode("utf-8", "surrogatepass")
            self.out += b"X" + struct.pack("<I", len(data)) + data
        elif isinstance(thing, tuple):
            self.out += b"("
            for part in thing:
                self.value(part)
            self.out += b"t"
        elif isinstance(thing, list):
            self.out += b"]("
            for part in thing:
                self.value(part)
            self.out += b"e"
        elif isinstance(thing, Call):
            self.value(Named(thing.path)).value(thing.arguments)
            self.out += b"R"
        elif isinstance(thing, Named):
            module, _, name = thing.path.rpartition(".")
            self.out += f"c{module}\n{name}\n".encode()
        elif isinstance(thing, Numbers):
            self.value(
                ("storage", Named(f"torch.{thing.kind}Storage"), thing.key, "cpu", thing.count, *thing.more)
            )
            self.out += b"Q"
        return self


class Named:
    def __init__(self, path: str):
        self.path = path


class Call(Named):
    def __init__(self, path: str, *arguments: Any):
        super().__init__(path)
        self.arguments = arguments


class Numbers:
    def __init__(self, kind: str, key: str, count: int, more: tuple[Any, ...]):
        self.kind, self.key, self.count, self.more = kind, key, count, more


def table(items: dict[str, Any], rest: bytes = b"") -> bytes:
    text = Text()
    text.out += b"}("
    for key, value in items.items():
        text.value(key).value(value)
    text.out += b"u" + rest + b"."
    return bytes(text.out)


def write(random: Random, path: Path, content: bytes, legacy: bool | None = None) -> None:
    """The pickle as the contents of a PyTorch file of either form, with one storage of 64 bytes, or bare."""
    form = random.randrange(5) if legacy is None else (0 if legacy else 4)
    if form == 0:
        path.write_bytes(
            LEGACY_HEAD + content + Text().value(["0"]).out + b"." + struct.pack("<q", 16) + bytes(64)
        )
    elif form == 1 and legacy is None:
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", bytes(64))
            archive.writestr("archive/version", b"3\n")


def code(random: Random, path: Path) -> None:
    """A call of what weights do not need, beside a tensor or alone. It would leave a file if it were run."""
    name = random.choice(CODE)
    argument = random.choice((f"touch {path}.ran", f"open({str(path) + '.ran'!r}, 'w')", "x", 1, ()))
    call = random.choice(
        (Call(name, argument), Named(name), Call("torch._utils._rebuild_parameter", Named(name)))
    )
    if random.randrange(3):
        write(random, path, table({"state_dict": call, "w": 1}))
    else:
        text = Text().value(Call("builtins.eval", argument))
        path.write_bytes(bytes(text.out[2:]) + b"." if random.randrange(2) else bytes(text.out) + b".")


def calls(random: Random, path: Path) -> None:
    """Calls of what PyTorch allows, with arguments that cost memory or time."""
    legacy = bool(random.randrange(2))
    size = random.choice((*bases.NUMBERS, 3 * 2**30, 10**6))
    kind = random.choice(("Float", "Half", "Long", "ComplexFloat", "QInt8", "Bool"))
    count = random.choice((16, 4, size))
    numbers = Numbers(kind, random.choice(("0", "0", "1", "../x", 5)), count, (None,) if legacy else ())
    shape = tuple(random.choice((1, 2, 4, size)) for _ in range(random.choice((0, 1, 2, 4, 20))))
    stride = tuple(random.choice((0, 1, -1, size)) for _ in range(len(shape) + random.choice((0, 0, 0, 1))))
    rebuilt = Call(
        random.choice(("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")),
        *(numbers, random.choice((0, 0, size, -1)), shape, stride, False, Call("collections.OrderedDict")),
    )
    odd = Call(random.choice(ALLOCATORS), random.choice((size, (size,), [size], "x" * 100_000, -1)))
    encode = Call("_codecs.encode", "x" * 3000, random.choice(("idna", "latin1", "rot13", "punycode")))
    parameter = Call("torch._utils._rebuild_parameter", random.choice((rebuilt, 5, odd)), False, ())
    thing = random.choice((rebuilt, rebuilt, odd, encode, parameter))
    build = Text().value((numbers, 0, (size,), (0,))).out[2:] + b"b" if random.randrange(4) == 0 else b""
    write(
        random,
        path,
        table({"w": rebuilt, "x": thing, "down_blocks.0.motion_modules.0.a": thing}, bytes(build)),
        legacy,
    )


def steps(random: Random, path: Path) -> None:
    """Opcodes at random."""
    out = bytearray(b"\x80\x02")
    known = (
        b"(.012FIJKLMNPQRSTUVXabcdeghijlopqrstu}])\x81\x85\x86\x87\x88\x89\x8a\x8b\x8e\x90\x94\x95\x96\x97"
    )
    for _ in range(random.choice((5, 50, 2000))):
        out += bytes([random.choice(known)]) + random.randbytes(random.choice((0, 1, 1, 4, 8)))
    heads = (
        b"",
        b"r\xff\xff\xff\x7f",
        b"\x96" + struct.pack("<Q", 2**33),
        b"\x8b\xff\xff\xff\x7f",
        b"(" * 10**6,
    )
    write(random, path, bytes(out[:2]) + random.choice(heads) + bytes(out[2:]) + b".")


def trees(random: Random, path: Path) -> None:
    """Tables in tables: shared, in themselves, deep, with odd keys."""
    weights: Any = random.choice((torch.ones(2), 5, torch.ones(()), torch.nn.Parameter(torch.ones(2))))
    depth = random.choice((3, 30, 40, 200))
    tree: Any = {"w": weights}
    shape = random.randrange(7)
    if shape == 0:
        for n in range(depth):
            tree = {f"a{n}": tree, f"b{n}": tree}
    elif shape == 1:
        name = random.choice(("state_dict", "model", "module", "x"))
        for _ in range(depth):
            tree = {name: tree}
    elif shape == 2:
        tree[random.choice(("state_dict", "me"))] = tree
    elif shape == 3:
        tree = {
            random.choice((1, None, 2.5, b"x", ("a", 1), "n" * 10**5, "\x1b[2J", True)): weights,
            "w": weights,
        }
    elif shape == 4:
        tree = random.choice(([tree], (tree,), {"state_dict": [tree]}, {1, 2}, b"bytes", complex(1, 2)))
    elif shape == 5:
        inner: Any = ()
        for _ in range(depth):
            inner = (inner, inner)
        tree = {"w": weights, "more": inner}
    else:
        tree = {f"w{n}": weights for n in range(random.choice((10, 3000)))}
    path.write_bytes(bases.saved(tree, bool(random.randrange(2))))


def long_pickles(random: Random, path: Path) -> None:
    """Pickles of many steps: nested containers as keys, hundreds of thousands of entries."""
    count = random.choice((1000, 400_000))
    prime = 2**61 - 1
    bodies = (
        lambda: b"\x80\x02}" + b"(" * 0 + b")" + b"\x85" * count + b"K\x01s.",
        lambda: b"\x80\x02" + b"]" * count + b"a" * (count - 1) + b".",
        lambda: table({f"{n}": None for n in range(count)}),
        lambda: (
            b"\x80\x02}("
            + b"".join(bytes(Text().value(n * prime).out[2:]) + b"N" for n in range(count // 8))
            + b"u."
        ),
        lambda: b"\x80\x02" + b"}q\x00" + b"h\x00h\x00h\x00s" * count + b".",
        lambda: b"\x80\x02" + b"N0" * (count * 3) + b".",
    )
    write(random, path, random.choice(bodies)())


GENERATORS = {code: 4, calls: 6, steps: 3, trees: 4, long_pickles: 1}
