"""Wrong values for every input of every node, made of the nodes' own schemas and a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import small_files
from .controls import controlnet
from .studio import Studio

NAN, INF = float("nan"), float("inf")
FILES = {
    "ckpt_name": Path(small_files.CHECKPOINT).name,
    "motion_model": Path(small_files.MOTION).name,
    "lora": Path(small_files.CONTROL_LORA).name,
}
Draw = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Case:
    """One input of a node, and a value that it cannot take."""

    node: str
    input: str
    what: str
    value: Any


class Bench:
    """Right values for every kind of link, and wrong ones for every kind of input."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        model, clip, vae = studio.base
        self.links: dict[str, Any] = {
            "MODEL": studio.video(),
            "CLIP": clip,
            "VAE": vae,
            "IMAGE": torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1)),
            "MASK": torch.ones(1, 64, 64),
            "LATENT": studio.empty(2),
            "CONDITIONING": studio.positive,
            "CONTROL_NET": controlnet(studio),
            "SIGMAS": torch.linspace(3, 0, 4),
            "ANIMATELCM_MOTION": studio.load_motion(small_files.IMAGE_MOTION),
        }

    def nodes(self) -> list[Any]:
        return list(self.studio.comfy.pack("nodes").NODES)

    def right(self, node: Any) -> dict[str, Any]:
        """Inputs with which `node` runs."""
        given = {}
        for item in node.define_schema().inputs or []:
            kind = str(item.get_io_type())
            if kind in self.links:
                given[item.id] = self.links[kind]
            else:
                given[item.id] = FILES.get(item.id, item.default)
        if "frames" in given:
            given |= {"frames": 1, "width": 64, "height": 64}
        return given

    def cases(self, seed: int) -> Iterator[Case]:
        """Without end: every input of every node in turn, each time with another wrong value."""
        numbers = random.Random(seed)
        places = [(node, item) for node in self.nodes() for item in node.define_schema().inputs or []]
        while True:
            numbers.shuffle(places)
            for node, item in places:
                what, draw = numbers.choice(self.wrong(item))
                yield Case(node.define_schema().node_id, item.id, what, draw(numbers))

    def wrong(self, item: Any) -> list[tuple[str, Draw]]:
        """What no input of this kind can take, each with its name."""
        kind = str(item.get_io_type())
        of_kind = {"INT": _integers, "FLOAT": _floats, "IMAGE": _images, "MASK": _masks, "LATENT": _latents}
        of_kind["CONDITIONING"] = _conditions
        found = [*_objects(kind), *of_kind.get(kind, lambda _item: [])(item)]
        alike = {kind} | ({"IMAGE", "MASK", "SIGMAS"} if kind in ("IMAGE", "MASK") else set())
        found += [(f"a {k}", _always(v)) for k, v in self.links.items() if k not in alike]
        if not item.optional or kind not in self.links:
            found.append(("None", _always(None)))
        return found


def _always(value: Any) -> Draw:
    return lambda _numbers: value


def _objects(kind: str) -> Iterator[tuple[str, Draw]]:
    """Values of Python that are of no kind, or of another kind than this."""
    yield "an object", lambda _numbers: object()
    yield "bytes", _always(b"\0\xff")
    yield "a set", _always({1, 2})
    yield "an empty list", _always([])
    yield "an empty dict", _always({})
    yield "a link that was not followed", _always(["1", 0])
    yield "a dict", lambda numbers: {f"key{numbers.random()}": {"deep": [numbers.random()]}}
    yield "a function", _always(len)
    yield "a class", _always(dict)
    yield "a complex number", _always(1 + 2j)
    yield "a long number", _always(10**5000)
    if kind != "STRING":
        yield (
            "text",
            lambda numbers: numbers.choice(["", "x" * 10_000, "\x1b[31m", "../..", "a\0b", "\u2603"]),
        )
    if kind not in ("INT", "FLOAT", "BOOLEAN"):
        yield "a number", lambda numbers: numbers.choice([0, 1, -5, 2.5, NAN, INF, True])
    if kind not in ("IMAGE", "MASK"):
        yield "a tensor", lambda numbers: torch.rand(numbers.randrange(4), 3, numbers.randrange(4))


def _integers(item: Any) -> Iterator[tuple[str, Draw]]:
    yield "too much", lambda numbers: item.max + 1 + numbers.randrange(2**40)
    yield "too little", lambda numbers: item.min - 1 - numbers.randrange(2**40)
    yield "no whole number", lambda numbers: item.min + numbers.random() * 0.9 + 0.05
    yield "no number", lambda numbers: numbers.choice([NAN, INF, -INF])


def _floats(item: Any) -> Iterator[tuple[str, Draw]]:
    yield "too much", lambda numbers: item.max + numbers.random() * 10 ** numbers.randrange(-3, 300) + 1e-3
    yield "too little", lambda numbers: item.min - numbers.random() * 10 ** numbers.randrange(-3, 300) - 1e-3
    yield "no number", lambda numbers: numbers.choice([NAN, INF, -INF])


def spoiled(shape: tuple[int, ...], numbers: random.Random) -> torch.Tensor:
    """A tensor of this shape with one number that is not finite."""
    tensor = torch.zeros(shape)
    tensor.view(-1)[numbers.randrange(tensor.numel())] = numbers.choice([NAN, INF, -INF])
    return tensor


def _odd_tensors() -> Iterator[tuple[str, Draw]]:
    yield "a complex tensor", _always(torch.zeros(1, 8, 8, 3, dtype=torch.complex64))
    yield "a sparse tensor", _always(torch.zeros(1, 8, 8, 3).to_sparse())
    yield "a tensor without numbers", _always(torch.zeros(1, 8, 8, 3, device="meta"))
    yield (
        "a nested tensor",
        lambda _numbers: torch.nested.nested_tensor(
            [torch.zeros(8, 8), torch.zeros(4, 8)], layout=torch.jagged
        ),
    )
    yield "a scalar", _always(torch.tensor(1.0))


def _images(_item: Any) -> Iterator[tuple[str, Draw]]:
    yield from _odd_tensors()
    yield "odd channels", lambda numbers: torch.rand(1, 8, 8, numbers.choice([0, 2, 5, 16]))
    yield (
        "a side of 0",
        lambda numbers: torch.rand(numbers.choice([(0, 8, 8, 3), (1, 0, 8, 3), (1, 8, 0, 3)])),
    )
    yield "another rank", lambda numbers: torch.rand((4,) * numbers.choice([1, 2, 3, 5]))
    yield "not finite", lambda numbers: spoiled((1, 8, 8, 3), numbers)


def _masks(_item: Any) -> Iterator[tuple[str, Draw]]:
    yield from _odd_tensors()
    yield "a side of 0", lambda numbers: torch.rand(numbers.choice([(0, 0), (1, 0, 8), (0, 8, 8)]))
    yield "another rank", lambda numbers: torch.rand((4,) * numbers.choice([1, 4, 5]))
    yield "not finite", lambda numbers: spoiled((1, 8, 8), numbers)
    yield "too many", _always(torch.rand(7, 8, 8))


def _latents(_item: Any) -> Iterator[tuple[str, Draw]]:
    def latent(**parts: Any) -> dict[str, Any]:
        return {"samples": torch.ones(2, 4, 8, 8), **parts}

    for name, draw in _odd_tensors():
        yield name, lambda numbers, draw=draw: latent(samples=draw(numbers))
        yield f"the mask {name}", lambda numbers, draw=draw: latent(noise_mask=draw(numbers))
    yield "no samples", _always({"sample": torch.ones(2, 4, 8, 8)})
    yield "samples that are none", lambda numbers: latent(samples=numbers.choice([None, "x", [1.0], 5]))
    yield "other channels", lambda numbers: latent(samples=torch.ones(2, numbers.choice([1, 3, 8, 16]), 8, 8))
    yield (
        "a side of 0",
        lambda n: latent(samples=torch.ones(n.choice([(0, 4, 8, 8), (2, 4, 0, 8), (2, 0, 8, 8)]))),
    )
    yield "another rank", lambda numbers: latent(samples=torch.ones((4,) * numbers.choice([1, 2, 3, 5])))
    yield "not finite", lambda numbers: latent(samples=spoiled((2, 4, 8, 8), numbers))
    yield (
        "a mask that is none",
        lambda numbers: latent(
            noise_mask=numbers.choice(["x", 1, [1.0], torch.ones(3), torch.ones(8, 8).int()])
        ),
    )
    yield "a mask not finite", lambda numbers: latent(noise_mask=spoiled((1, 64, 64), numbers))
    indices = ([0], [0, 1, 2], [0, -1], [0, 10**9], ["a", "b"], [0.5, 1], "ab", 7, {0: 1}, [NAN, 0], [])
    yield "a wrong batch_index", lambda numbers: latent(batch_index=numbers.choice(indices))


def _conditions(_item: Any) -> Iterator[tuple[str, Draw]]:
    options: dict[str, Any] = {}
    for name, draw in _odd_tensors():
        yield name, lambda numbers, draw=draw: [[draw(numbers), options]]
    yield (
        "no pair",
        lambda numbers: numbers.choice([[[]], [[torch.ones(1, 77, 8)]], [None], [5], ["ab"], [{}]]),
    )
    yield "no options", _always([[torch.ones(1, 77, 8), None]])
    yield "not finite", lambda numbers: [[spoiled((1, 77, 64), numbers), options]]
    yield "no features", lambda numbers: [[numbers.choice([None, "x", 1, torch.ones(3)]), options]]
