"""Light blocks that read a reference image in latent space (paper 4.3, Fig. 4: image to video).

The image's latent is held over all frames, which sinusoidal positions, scaled by `motion_scale`, tell apart;
two blocks a level make one feature per level of the UNet's way down, which `attach` adds there before the
motion module. Nothing depends on the timestep: one evaluation serves a whole run.

Parameter names are those of the released file without its prefix `img_encoder.`; there are no buffers.
Shape letters: f frames, c channels, h w the latent's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .motion_module import sinusoidal_positions


class LightBlock(nn.Module):
    """x + 1x1(ReLU(3x3(x))), after averages that halve the size and a 1x1 where the width changes."""

    def __init__(self, before: int, channels: int, down: bool, ops: Any):
        super().__init__()
        self.down = down
        self.in_conv = ops.Conv2d(before, channels, 1) if before != channels else None
        self.block1 = ops.Conv2d(channels, channels, 3, padding=1)
        self.block2 = ops.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            x = F.avg_pool2d(x, 2, ceil_mode=True)  # odd sizes halve as the UNet's own convolutions do
        if self.in_conv is not None:
            x = self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class ImageEncoder(nn.Module):
    """Latents and frame numbers -> one feature per level of the UNet."""

    def __init__(self, channels: Sequence[int] = (320, 640, 1280, 1280), ops: Any = nn):
        super().__init__()
        self.channels = tuple(channels)
        self.conv_in = ops.Conv2d(4, self.channels[0], 3, padding=1)
        widths = [c for c in self.channels for _ in range(2)]
        self.body = nn.ModuleList(
            [
                LightBlock(before, width, down=i > 0 and i % 2 == 0, ops=ops)
                for i, (before, width) in enumerate(zip([self.channels[0], *widths], widths, strict=False))
            ]
        )

    def forward(
        self, latents: Tensor, positions: Sequence[int], motion_scale: float | Tensor
    ) -> list[Tensor]:
        """Features of the frames `positions` (0 is the clip's first): (f, c, h / 2^l, w / 2^l) of level l.

        latents: (1, 4, h, w), one image for all frames, or (f, 4, h, w), one each; in the UNet's units (times
        0.18215). motion_scale: one for all, or (f,); 0 makes all frames of one image alike, the authors use
        0.8.
        """
        table = sinusoidal_positions(max(positions) + 1, self.channels[0])[list(positions)].to(latents)
        scale = motion_scale[:, None] if isinstance(motion_scale, Tensor) else motion_scale
        x = self.conv_in(latents) + (scale * table)[:, :, None, None]
        features = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i % 2:
                features.append(x)
        return features


def zero_conv_in(encoder: ImageEncoder) -> ImageEncoder:
    """Zero the first layer, as the authors start training: the image adds nothing yet, its positions do."""
    nn.init.zeros_(encoder.conv_in.weight)
    nn.init.zeros_(encoder.conv_in.bias)
    return encoder


def scaled(features: Sequence[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """Features times one weight per level."""
    return [feature if w == 1.0 else feature * w for feature, w in zip(features, weights, strict=True)]
