"""Shapes of the networks, as frozen dataclasses and named variants.

A motion model mirrors the UNet it is attached to: one temporal module after every spatial layer of every
level (two going down, three going up) and, in most released files, one in the middle (paper 4.2, Fig. 2).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionConfig:
    """Sizes of a set of temporal modules.

    channels: width of each level of the UNet, outermost first.
    layers_per_level: spatial layers per level going down; going up there is one more.
    has_mid: whether a module follows the middle attention (absent in AnimateDiff v1 and v3).
    heads: attention heads; head width is the level's channels over `heads`.
    max_frames: longest sequence the position table was made for (24, 32 or 64).
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_level: int = 2
    has_mid: bool = True
    heads: int = 8
    max_frames: int = 64

    def modules(self) -> dict[str, int]:
        """Published name of every temporal module -> its channels, in the order that the UNet runs them."""
        names = {
            f"down_blocks.{level}.motion_modules.{layer}": c
            for level, c in enumerate(self.channels)
            for layer in range(self.layers_per_level)
        }
        if self.has_mid:
            names["mid_block.motion_modules.0"] = self.channels[-1]
        names |= {
            f"up_blocks.{level}.motion_modules.{layer}": c
            for level, c in enumerate(reversed(self.channels))
            for layer in range(self.layers_per_level + 1)
        }
        return names


SD15_T2V = MotionConfig()
