"""LoRA files in kohya's names: what they add to a UNet's weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.lora_file import kohya_name, merge_lora

RANK, ALPHA = 3, 1.5


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(5, 4), nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(5, 4, 1)])


def file(path: str, down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(path))
    name = kohya_name(path)
    return {
        f"{name}.lora_down.weight": torch.randn(RANK, *down, generator=generator),
        f"{name}.lora_up.weight": torch.randn(4, RANK, *up, generator=generator),
        f"{name}.alpha": torch.tensor(ALPHA),
    }


KINDS = {
    "blocks.0": ((5,), ()),
    "blocks.1": ((5, 3, 3), (1, 1)),
    "blocks.2": ((5, 1, 1), (1, 1)),
}


@pytest.mark.parametrize("path", KINDS)
def test_merged_layer_adds_up_of_down(path: str) -> None:
    """The merged layer gives what the layer and the two small layers in a row give."""
    torch.manual_seed(0)
    net = Net().double()
    layer = net.get_submodule(path)
    lora = {key: value.double() for key, value in file(path, *KINDS[path]).items()}
    name = kohya_name(path)
    down, up = lora[f"{name}.lora_down.weight"], lora[f"{name}.lora_up.weight"]
    if isinstance(layer, nn.Conv2d):
        x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
        added = F.conv2d(F.conv2d(x, down, padding=layer.padding), up)
    else:
        x = torch.randn(2, 5, dtype=torch.float64)
        added = x @ down.T @ up.T
    expected = layer(x) + 0.5 * ALPHA / RANK * added
    assert merge_lora(net, lora, scale=0.5) == 1
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert added.abs().mean() > 0.1


def test_without_alpha_the_factor_is_one() -> None:
    net = Net()
    before = net.blocks[0].weight.detach().clone()
    lora = file("blocks.0", (5,), ())
    name = kohya_name("blocks.0")
    del lora[f"{name}.alpha"]
    merge_lora(net, lora)
    change = lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"]
    assert torch.allclose(net.blocks[0].weight - before, change, atol=1e-6)


def broken(kind: str) -> dict[str, Tensor]:
    lora = file("blocks.1", (5, 3, 3), (1, 1))
    if kind == "lora_unet_blocks_7":
        return {**file("blocks.0", (5,), ()), **file("blocks.7", (5,), ())}
    if kind == "lora_unet_blocks_1 without lora_up.weight":
        del lora[f"{kohya_name('blocks.1')}.lora_up.weight"]
        return lora
    if kind == "lora_unet_blocks_2.lora_A.weight":
        return {kind: torch.zeros(1)}
    return {key.replace("blocks_1", "blocks_2"): value for key, value in lora.items()}  # 3x3 for a 1x1


@pytest.mark.parametrize(
    "kind",
    [
        "lora_unet_blocks_7",
        "lora_unet_blocks_1 without lora_up.weight",
        "lora_unet_blocks_2.lora_A.weight",
        "lora_unet_blocks_2 for a weight",
    ],
)
def test_a_bad_file_is_named_and_changes_nothing(kind: str) -> None:
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=kind):
        merge_lora(net, broken(kind))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_every_layer_of_the_small_unet_has_its_own_name() -> None:
    from training.small_world.teacher import networks

    with torch.device("meta"):
        unet = networks.unet()
    paths = [p for p, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len({kohya_name(path) for path in paths}) == len(paths) > 100
