"""Generators of whole files whose tensors are wrong: names, shapes, dtypes, numbers, metadata."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from . import bases


def _save(random: Random, path: Path, table: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """As .safetensors if that can hold it, else, and sometimes, as a PyTorch file."""
    if random.randrange(3):
        try:
            path.write_bytes(bases.joined(*bases.safetensors(table, metadata)))
            return
        except (KeyError, ValueError, RuntimeError, TypeError, NotImplementedError, UnicodeError):
            pass
    path.write_bytes(bases.saved(table, bool(random.randrange(2))))


def odd_tensor(random: Random, value: Tensor) -> Tensor:
    """A tensor in place of another one."""
    makers = (
        lambda: value.to(torch.float32).to(random.choice(bases.DTYPES)),
        lambda: value.to(torch.float32).to(random.choice(bases.DTYPES)),
        lambda: value.new_zeros(()).expand(random.choice(((2048, 2048), (2**40,), value.shape))),
        lambda: value.float() * random.choice((float("nan"), float("inf"))),
        lambda: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8),
        lambda: value.float().to_sparse(),
        lambda: value[None],
        lambda: value.reshape(-1)[: random.randrange(3)],
        lambda: torch.ones(random.choice(((0,), (), (1,), (4, 0), (7, 7), (1, 2000, 32), (1, 0, 32)))),
        lambda: torch.empty(random.choice(((3,), tuple(value.shape))), device="meta"),
    )
    try:
        return random.choice(makers)()
    except (RuntimeError, TypeError):  # not every kind of tensor can be made of every other one
        return value


def odd_name(random: Random, key: str) -> str:
    """A name in place of another one."""
    number = random.choice(("7", "17", "9" * 4, "9" * 5000, "-1", "\u0663", "00", "1e9", "x"))
    parts = key.split(".")
    digits = [n for n, part in enumerate(parts) if part.isdecimal()]
    if digits and random.randrange(3):
        parts[random.choice(digits)] = number
        return ".".join(parts)
    return random.choice(
        (key + ".x", key[1:], "x" * 10**6, f"\x1b[31m{key}", f"{key} {'a b ' * 90}", "lora_" + key)
    )


def wrong(random: Random, path: Path) -> None:
    """A motion model or LoRA with one to three faults."""
    table = bases.tensors(random)
    for _ in range(random.choice((1, 1, 2, 3))):
        key = (
            random.choice([key for key in table if "pos_" in key] or list(table))
            if random.randrange(3) == 0
            else (random.choice(list(table)))
        )
        action = random.randrange(4)
        if action == 0 and len(table) > 1:
            del table[key]
        elif action == 1:
            table[odd_name(random, key)] = table[key]
        elif action == 2 and len(table) > 1:
            table[odd_name(random, key)] = table.pop(key)
        else:
            table[key] = odd_tensor(random, table[key])
    _save(random, path, table, {})


def every(random: Random, path: Path) -> None:
    """A file with the same fault in every tensor of a kind."""
    table = bases.tensors(random)
    end = random.choice(("pe", "alpha", "weight", "bias", "norm.weight", ""))
    dtype = random.choice(bases.DTYPES)
    for key, value in table.items():
        if key.endswith(end):
            table[key] = value.to(dtype)
    _save(random, path, table, {})


def metadata(random: Random, path: Path) -> None:
    """A whole motion model with odd metadata."""
    table = dict(bases.motion(random.choice(("animatelcm_t2v", "animatediff_v2"))))
    text = random.choice(
        ("", "0", "-3", "9" * 5000, "3", "4", "\u0663", "x" * 10**5, "\x1b[31m", "animatediff")
    )
    _save(random, path, table, {random.choice(("animatelcm.heads", "animatelcm.schedule", "\x1b[1m")): text})


def whole(random: Random, path: Path) -> None:
    """A file without a fault."""
    _save(random, path, bases.tensors(random), {})


def small_sizes(random: Random, path: Path) -> None:
    """A small checkpoint that says other sizes than it can have."""
    sizes: Any = bases.seeded_files.host_sizes(bases.SMALL)
    for _ in range(random.choice((1, 1, 2))):
        part = random.choice((sizes["unet"], sizes["text"], sizes["vae"], sizes["vae"]["ddconfig"], sizes))
        name = random.choice((*part, "more"))
        value = part.get(name)
        if isinstance(value, list) and value and random.randrange(2):
            value[random.randrange(len(value))] = bases.odd_value(random)
        else:
            part[name] = random.choice((bases.odd_value(random), random.choice((100_000, 10**9, 64, 4096))))
        if part is sizes or name == "ddconfig":
            break
    text = json.dumps(sizes)
    if random.randrange(8) == 0:
        text = random.choice(("[" * 100_000, text[:-3], "{}", "null", '{"unet":{},"text":{},"vae":{}}'))
    path.write_bytes(
        bases.joined(
            *bases.safetensors({"model.diffusion_model.x": torch.ones(2)}, {"animatelcm.shapes": text})
        )
    )


GENERATORS = {wrong: 8, every: 3, metadata: 1, whole: 2, small_sizes: 2}
