"""LoRA files for ControlNets and T2I-Adapters.

Nobody has published such files; the layout is this repository's: kohya's, its prefix telling the network,
`lora_controlnet_<module>` or `lora_t2iadapter_<module>`, with `.lora_down.weight` (r, in[, k, k]),
`.lora_up.weight` (out, r[, 1, 1]) and `.alpha`. Module names are those of the networks' first files, which
ComfyUI uses too: `input_blocks.1.0.in_layers.2`, `zero_convs.0.0`; `conv_in`, `body.0.block1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Literal

from torch import Tensor

from .errors import FormatError, reading
from .identify import identify
from .kohya import FACTORS, PARTS, by_module
from .validate import FLOATS, INTEGERS, check_dtype, is_finite
from .words import shown

AdapterKind = Literal["controlnet", "t2i_adapter"]

PREFIXES: dict[AdapterKind, str] = {"controlnet": "lora_controlnet_", "t2i_adapter": "lora_t2iadapter_"}
_WORDS = {"controlnet": "a ControlNet", "t2i_adapter": "a T2I-Adapter"}
_OTHER = "Use the adapter that it was trained on, or a LoRA made for this one."


def adapter_lora_key(kind: AdapterKind, module: str) -> str:
    """What a file calls the module at this path of the network."""
    return PREFIXES[kind] + module.replace(".", "_")


def check_adapter_lora(
    tensors: Mapping[str, Tensor], name: str, kind: AdapterKind, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """FormatError unless the file `name` is a LoRA for a network of this kind and these sizes.

    shapes: path of each module of the network that has a weight -> the weight's shape.
    """
    with reading(name, f"a LoRA for {_WORDS[kind]}"):
        _check(tensors, name, kind, shapes)


def _check(
    tensors: Mapping[str, Tensor], name: str, kind: AdapterKind, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    found = identify(tensors)
    if found.kind != "adapter_lora":
        raise FormatError(f"{found.words} in {name}", f"a LoRA for {_WORDS[kind]}", kind=found.kind)
    made_for = next(k for k, prefix in PREFIXES.items() if any(key.startswith(prefix) for key in tensors))
    if made_for != kind:
        raise FormatError(f"a LoRA for {_WORDS[made_for]} in {name}", f"one for {_WORDS[kind]}", _OTHER)
    known = {adapter_lora_key(kind, module): shape for module, shape in shapes.items()}
    for stem, parts in by_module(tensors).items():
        if stem not in known:
            raise FormatError(f"{shown(stem)} in {name}", f"layers of this {_WORDS[kind][2:]}", _OTHER)
        _check_factors(parts, known[stem], f"{stem} in {name}")


def _check_factors(parts: Mapping[str, Tensor], shape: tuple[int, ...], where: str) -> None:
    """FormatError unless these are both factors of a change to a weight of this shape."""
    if not set(FACTORS) <= set(parts) <= set(PARTS):
        raise FormatError(
            f"{shown(', '.join(sorted(parts)))} for {where}", f"{' and '.join(FACTORS)}", _OTHER
        )
    for part, tensor in parts.items():
        check_dtype(tensor, f"{part} for {where}", (*FLOATS, *(INTEGERS if part == "alpha" else ())))
    down, up = (parts[factor] for factor in FACTORS)
    if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1]:
        raise FormatError(f"factors {tuple(up.shape)} and {tuple(down.shape)} for {where}", "a pair", _OTHER)
    if (up.shape[0], prod(down.shape[1:])) != (shape[0], prod(shape[1:])):
        given = (up.shape[0], *down.shape[1:])
        raise FormatError(f"a change of shape {given} for {where}", f"{tuple(shape)}", _OTHER)
    if not all(is_finite(part) for part in parts.values()):
        raise FormatError(f"numbers that are not finite for {where}", "finite weights", _OTHER)
