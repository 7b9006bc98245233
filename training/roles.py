"""One network, three roles: teacher, target, online (paper Fig. 2 and 3).

The base weights exist once. A role says which temporal modules are attached to them, how much of the LoRA is
on, which encoder reads a reference image and how much of its own LoRA an adapter has. `Network.acting` puts
the role on for the time of a forward pass. For the online role that time includes the backward pass: gradient
checkpointing runs parts of the forward again and must find the same role.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from animatelcm_core.attach import attached, with_image_features
from animatelcm_core.image_encoder import ImageEncoder
from animatelcm_core.motion_module import MotionModel

from .adapters import Control
from .lora import ONLINE, Lora


@dataclass(frozen=True)
class Role:
    """Which parts act, and how much of each.

    motion: None for single pictures. lora: how much of the LoRA, 0 for the base network alone. control: None
    without hints; else how much of the adapter's own LoRA, that of `control_adapter`.
    """

    motion: MotionModel | None = None
    lora: float = 0.0
    adapter: str = ONLINE
    encoder: ImageEncoder | None = None
    control: float | None = None
    control_adapter: str = ONLINE


@dataclass(frozen=True)
class Reference:
    """Images that clips begin as.

    images: ((b f), c, h, w), what the encoder reads of each frame. motion_scale: one for all, or ((b f),).
    """

    images: Tensor
    motion_scale: float | Tensor

    def split(self, frames: int) -> list[Reference]:
        """One of each clip. Needs one motion scale for all."""
        return [replace(self, images=part) for part in self.images.split(frames)]


@dataclass(frozen=True)
class Hints:
    """What an adapter follows. pixels: ((b f), 3, 8 h, 8 w), values 0..1, one of each frame."""

    pixels: Tensor

    def split(self, frames: int) -> list[Hints]:
        """Those of each clip."""
        return [Hints(part) for part in self.pixels.split(frames)]


Conditioning = Reference | Hints


@dataclass(frozen=True, eq=False)
class Parts:
    """What is put on the base UNet.

    lora: None where there is none yet. motion: the online temporal modules, None for pictures. encoder: the
    online image encoder. control: an adapter that reads hints; control_lora: the LoRA on it.
    """

    lora: Lora | None = None
    motion: MotionModel | None = None
    encoder: ImageEncoder | None = None
    control: Control | None = None
    control_lora: Lora | None = None


class Network(nn.Module):
    """The base UNet with its parts. Its forward is whatever role is acting.

    The parts are submodules, so that several processes average their gradients.
    """

    def __init__(self, unet: nn.Module, parts: Parts, checkpointing: bool = False):
        super().__init__()
        self.unet, self.lora, self.motion, self.encoder = unet, parts.lora, parts.motion, parts.encoder
        self.control, self.control_lora = parts.control, parts.control_lora
        self.hints: Tensor | None = None
        self.checkpointing = checkpointing
        if checkpointing:
            unet.enable_gradient_checkpointing()  # type: ignore[operator]
            if self.control is not None:
                self.control.enable_gradient_checkpointing()

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """eps of x (n, 4, h, w), frames of a clip after each other; t: (n,); context: (n, 77, c)."""
        extra = {}
        if self.hints is not None:
            assert self.control is not None
            hints = self.hints.repeat(len(x) // len(self.hints), 1, 1, 1)  # guidance doubles x
            extra = self.control(x, t, context, hints.to(x.dtype))
        return self.unet(x, t, context, return_dict=False, **extra)[0]

    @contextmanager
    def acting(self, role: Role, frames: int, conditioning: Conditioning | None = None) -> Iterator[None]:
        """Inside: the network is `role`, and its parts for images or hints see `conditioning`."""
        with ExitStack() as stack:
            if isinstance(conditioning, Hints) and role.control is not None:
                stack.enter_context(self._with_hints(conditioning.pixels, role))
            if isinstance(conditioning, Reference) and role.encoder is not None:
                positions = list(range(frames)) * (len(conditioning.images) // frames)
                features = role.encoder(conditioning.images, positions, conditioning.motion_scale)
                stack.enter_context(with_image_features(self.unet, features))
            if self.lora is not None:
                stack.enter_context(self.lora.at(role.lora, role.adapter))
            if role.motion is not None:
                blocks = role.motion.blocks()
                if self.checkpointing:
                    blocks = {
                        name: partial(checkpoint, block, use_reentrant=False)
                        for name, block in blocks.items()
                    }
                stack.enter_context(attached(self.unet, blocks, frames))
            yield

    @contextmanager
    def _with_hints(self, hints: Tensor, role: Role) -> Iterator[None]:
        """Inside: the control reads `hints`, with as much of its LoRA as the role says."""
        lora, scale = self.control_lora, role.control or 0.0
        self.hints = hints
        try:
            with nullcontext() if lora is None else lora.at(scale, role.control_adapter):
                yield
        finally:
            self.hints = None
