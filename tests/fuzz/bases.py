"""What the generators start from: small whole files, made once in a process, and values that hurt."""

from __future__ import annotations

import io
import json
import sys
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "tests" / "support") not in sys.path:
    sys.path.append(str(ROOT / "tests" / "support"))

import seeded_files  # noqa: E402
from adapter_layouts import adapter_lora_shapes, controlnet_shapes, t2i_shapes  # noqa: E402
from motion_layouts import LAYOUTS  # noqa: E402

SMALL = seeded_files.SMALL
NETWORKS = {"controlnet": controlnet_shapes(SMALL), "t2i_adapter": t2i_shapes(SMALL.channels)}
# One level of one layer is a motion model, too.
TINY = seeded_files.Sizes(**{**SMALL.__dict__, "channels": (32,)})

NUMBERS = (0, 1, -1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30)
DTYPES = tuple(
    getattr(torch, name)
    for name in "complex64 complex32 complex128 uint16 uint32 uint64 bool int64 int8 uint8 float64 "
    "bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu".split()
    if hasattr(torch, name)
)


def odd_value(random: Random, depth: int = 0) -> Any:
    """Something that JSON can hold and a header should not."""
    makers = (
        lambda: random.choice(NUMBERS),
        lambda: random.choice((None, True, False, "", "F32", "x" * random.choice((1, 300, 10**5)))),
        lambda: random.choice((float("inf"), float("-inf"), float("nan"), 0.5, 1e300)),
        lambda: random.choice(("\x1b[31mred", "a\0b", "\u202ename", "a" * 600, "\ud800")),
        lambda: [odd_value(random, depth + 1) for _ in range(random.randrange(4))] if depth < 3 else [],
        lambda: (
            {str(n): odd_value(random, depth + 1) for n in range(random.randrange(3))} if depth < 3 else {}
        ),
        lambda: [random.choice(NUMBERS) for _ in range(random.choice((1, 2, 4, 20, 100)))],
    )
    return random.choice(makers)()


@lru_cache(maxsize=16)
def motion(layout: str) -> dict[str, Tensor]:
    return seeded_files.motion_tensors(layout, sizes=TINY)


@lru_cache(maxsize=4)
def adapter_lora(kind: str) -> dict[str, Tensor]:
    shapes = adapter_lora_shapes(kind, NETWORKS[kind], 2)
    return {key: torch.ones(shape) for key, shape in list(shapes.items())[:30]}


def tensors(random: Random) -> dict[str, Tensor]:
    """Weights of some kind, new in every call as a table, shared as numbers."""
    kind = random.randrange(4)
    if kind == 0:
        return {
            f"layer.{n}.weight": torch.ones(random.randrange(5), 3) for n in range(random.randrange(1, 6))
        }
    if kind == 1:
        return dict(adapter_lora(random.choice(tuple(NETWORKS))))
    return dict(motion(random.choice(tuple(LAYOUTS))))


def safetensors(
    table: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a .safetensors file."""
    from safetensors.torch import save

    content = save({key: value.contiguous().clone() for key, value in table.items()}, metadata)
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Any, numbers: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def saved(content: object, archive: bool) -> bytes:
    """A PyTorch file, of the zip form or of the one before."""
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer, _use_new_zipfile_serialization=archive)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError):  # nobody can write it so
        return saved({"w": torch.ones(2)}, archive)
    return buffer.getvalue()
