"""I3D: Inception-v1 with its kernels inflated to three dimensions (Carreira and Zisserman 2017, "Quo Vadis,
Action Recognition?", Fig. 3), with 400 classes of Kinetics. FVD is measured on its logits.

Names of tensors are those of published PyTorch weights, `i3d_pretrained_400.pt` among them:
`Conv3d_1a_7x7.conv3d.weight`, `Mixed_3b.b1a.bn.running_var`, `logits.conv3d.bias`. Padding is TensorFlow's
`SAME`: the odd element goes after the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animatelcm_core.formats import read_tensors

from ..config import ConfigError

CLASSES = 400
_STEM = (64, 64, 192)
_MIXED = {  # 1x1; 1x1 -> 3x3; 1x1 -> 3x3; pool -> 1x1
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
_POOLED = {"Mixed_4b": (3, 2), "Mixed_5b": (2, 2)}  # kernel and stride of the pooling before a block


def same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """(b, c, t, h, w) padded with zeros so that each side becomes ceil(side / stride)."""
    pads: list[int] = []
    for side, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        whole = max(k - (side % s or s), 0)
        pads += [whole // 2, whole - whole // 2]
    return F.pad(x, pads)


def pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Maximum of each window. Padding with zeros is harmless: what is pooled has been through a ReLU."""
    return F.max_pool3d(same(x, kernel, stride), tuple(kernel), tuple(stride))


class Unit(nn.Module):
    """Convolution, batch norm and ReLU; with `plain` a convolution with bias alone."""

    def __init__(self, a: int, b: int, kernel: int = 1, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(a, b, kernel, stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(b, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(same(x, self.kernel, self.stride))
        return x if self.bn is None else self.bn(x).relu()


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, a: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, narrow, wide, narrower, less_wide, pooled = widths
        self.b0 = Unit(a, one)
        self.b1a, self.b1b = Unit(a, narrow), Unit(narrow, wide, 3)
        self.b2a, self.b2b = Unit(a, narrower), Unit(narrower, less_wide, 3)
        self.b3b = Unit(a, pooled)

    def forward(self, x: Tensor) -> Tensor:
        pooled = pool(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """(b, 3, t, h, w) in -1..1 -> logits (b, 400), mean over time. t of 9 or more; 224 x 224 is usual."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _STEM
        self.Conv3d_1a_7x7, self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = (
            Unit(3, a, 7, 2),
            Unit(a, b),
            Unit(b, c, 3),
        )
        for name, widths in _MIXED.items():
            self.add_module(name, Mixed(c, widths))
            c = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = Unit(c, CLASSES, plain=True)

    def forward(self, x: Tensor) -> Tensor:
        x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in _MIXED:
            if name in _POOLED:
                kernel, stride = _POOLED[name]
                x = pool(x, (kernel,) * 3, (stride,) * 3)
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
        return self.logits(x).mean((2, 3, 4))


def load_i3d(path: Path, device: torch.device | str = "cpu") -> I3D:
    """The network with the weights at `path`, frozen. Code in a file is never run.

    Raises FormatError for an unreadable or unsafe file, ConfigError for weights of something else.
    """
    tensors, _ = read_tensors(path)
    with torch.device("meta"):
        net = I3D()
    wanted = net.state_dict()
    counters = {
        key: torch.zeros((), dtype=torch.long) for key in wanted if key.endswith("num_batches_tracked")
    }
    values = {**counters, **{k: v if k in counters else v.float() for k, v in tensors.items()}}
    wrong = [k for k, v in wanted.items() if k not in values or values[k].shape != v.shape]
    wrong += [k for k in values if k not in wanted]
    if wrong:
        raise ConfigError(
            f"got --i3d {path}, where {wrong[0]} is missing, of another size or too much; expected I3D's "
            "weights with 400 classes (i3d_pretrained_400.pt), not a TorchScript archive or another network"
        )
    net.load_state_dict(values, assign=True)
    return net.eval().requires_grad_(False).to(device)
