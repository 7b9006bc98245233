"""LoRA files for adapters: the real layouts pass, everything else is named."""

from __future__ import annotations

import adapter_layouts
import pytest
import sd15_layout
import torch
from torch import Tensor

from animatelcm_core.formats import AdapterKind, FormatError, adapter_lora_key, check_adapter_lora, identify

KINDS: tuple[AdapterKind, ...] = ("controlnet", "t2i_adapter")
SMALL = sd15_layout.SMALL
NETWORKS = {
    "controlnet": adapter_layouts.controlnet_shapes(SMALL),
    "t2i_adapter": adapter_layouts.t2i_shapes(SMALL.channels),
}


def lora(kind: str) -> dict[str, Tensor]:
    shapes = adapter_layouts.adapter_lora_shapes(kind, NETWORKS[kind], 4)
    return {key: torch.ones(shape) for key, shape in shapes.items()}


def sizes(kind: str) -> dict[str, tuple[int, ...]]:
    ends = ".weight"
    return {key.removesuffix(ends): shape for key, shape in NETWORKS[kind].items() if key.endswith(ends)}


def refused(match: str, tensors: dict[str, Tensor], kind: AdapterKind) -> None:
    with pytest.raises(FormatError, match=match):
        check_adapter_lora(tensors, "file.safetensors", kind, sizes(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_passes_and_so_does_one_of_some_layers(kind: AdapterKind) -> None:
    whole = lora(kind)
    assert identify(whole).kind == "adapter_lora"
    check_adapter_lora(whole, "file.safetensors", kind, sizes(kind))
    stem = next(iter(whole)).partition(".")[0]
    check_adapter_lora({k: v for k, v in whole.items() if k.startswith(f"{stem}.")}, "", kind, sizes(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_named(kind: AdapterKind) -> None:
    whole, other = lora(kind), KINDS[1 - KINDS.index(kind)]
    first = next(key for key in whole if key.endswith("lora_up.weight"))
    stem = first.removesuffix(".lora_up.weight")
    refused("expected one for a", lora(other), kind)
    refused("got a LoRA for SD1.5 in file.safetensors", unet_lora(), kind)
    foreign = {f"{adapter_lora_key(kind, 'no.such')}.{part}": whole[f"{stem}.{part}"] for part in parts()}
    refused("no_such in file.safetensors; expected layers of this", whole | foreign, kind)
    refused("got alpha, lora_down.weight for", {k: v for k, v in whole.items() if k != first}, kind)
    refused(
        "got alpha, lora_down.weight, lora_mid.weight",
        whole | {f"{stem}.lora_mid.weight": whole[first]},
        kind,
    )
    refused("expected a pair", whole | {first: whole[first][:, :2]}, kind)
    refused("got a change of shape", whole | {first: torch.cat([whole[first]] * 2)}, kind)
    refused("not finite", whole | {first: whole[first] * float("inf")}, kind)


def parts() -> tuple[str, ...]:
    return "lora_down.weight", "lora_up.weight", "alpha"


def unet_lora() -> dict[str, Tensor]:
    shapes = sd15_layout.lora_shapes(sd15_layout.FULL, 4)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
