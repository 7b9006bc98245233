"""One network, three roles: teacher, target, online (paper Fig. 2 and 3).

The base weights exist once. A role says which temporal modules are attached to them, how much of the LoRA is
on and which encoder reads a reference image; `Network.acting` puts it on for the time of a forward pass. For
the online role that time includes the backward pass: gradient checkpointing runs parts of the forward again
and must find the same role.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from animatelcm_core.attach import attached, with_image_features
from animatelcm_core.image_encoder import ImageEncoder
from animatelcm_core.motion_module import MotionModel

from .lora import ONLINE, Lora


@dataclass(frozen=True)
class Role:
    """motion: None for single pictures. lora: how much of the LoRA, 0 for the base network alone."""

    motion: MotionModel | None = None
    lora: float = 0.0
    adapter: str = ONLINE
    encoder: ImageEncoder | None = None


@dataclass(frozen=True)
class Reference:
    """Images that clips begin as. given: ((b f), c, h, w), what the encoder reads of each frame."""

    given: Tensor
    motion_scale: float


class Network(nn.Module):
    """The base UNet with what is trained on it. Its forward is whatever role is acting.

    lora: None where there is none yet. motion: the online temporal modules, None for pictures. encoder: the
    online image encoder, if there is one. All are submodules, so that several processes average their
    gradients.
    """

    def __init__(
        self,
        unet: nn.Module,
        lora: Lora | None,
        motion: MotionModel | None,
        checkpointing: bool = False,
        encoder: ImageEncoder | None = None,
    ):
        super().__init__()
        self.unet, self.lora, self.motion, self.encoder = unet, lora, motion, encoder
        self.checkpointing = checkpointing
        if checkpointing:
            unet.enable_gradient_checkpointing()  # type: ignore[operator]

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """eps of x (n, 4, h, w), frames of a clip after each other; t: (n,); context: (n, 77, c)."""
        return self.unet(x, t, context, return_dict=False)[0]

    @contextmanager
    def acting(self, role: Role, frames: int, reference: Reference | None = None) -> Iterator[None]:
        with ExitStack() as stack:
            if reference is not None and role.encoder is not None:
                given = reference.given
                positions = list(range(frames)) * (len(given) // frames)
                features = role.encoder(given, positions, reference.motion_scale)
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
