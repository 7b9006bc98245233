"""Names and shapes of ControlNet and T2I-Adapter files for SD1.5, and of this pack's LoRA for them."""

from __future__ import annotations

from collections.abc import Iterator

from sd15_layout import Shapes, Sizes, unet_layers, unet_shapes

HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)  # of the convolutions that bring a hint to the latent's size
LORA_PREFIX = {"controlnet": "lora_controlnet_", "t2i_adapter": "lora_t2iadapter_"}


def _pair(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def controlnet_shapes(sizes: Sizes) -> Shapes:
    """A ControlNet in its first files' names, without the prefix `control_model.` (340 tensors for SD1.5)."""
    going_down = ("time_embed.", "input_blocks.", "middle_block.")
    shapes = {key: shape for key, shape in unet_shapes(sizes).items() if key.startswith(going_down)}
    before = 3
    for i, width in enumerate((*HINT_WIDTHS, sizes.channels[0])):
        shapes |= _pair(f"input_hint_block.{2 * i}", width, before, 3, 3)
        before = width
    for i, width in enumerate(_block_widths(sizes)):
        shapes |= _pair(f"zero_convs.{i}.0", width, width, 1, 1)
    return shapes | _pair("middle_block_out.0", sizes.channels[-1], sizes.channels[-1], 1, 1)


def _block_widths(sizes: Sizes) -> Iterator[int]:
    """Channels that leave each input block."""
    yield sizes.channels[0]
    for layer in unet_layers(sizes):
        if layer.ldm.startswith("input_blocks.") and layer.kind in ("resnet", "down"):
            yield layer.outputs


def t2i_shapes(channels: tuple[int, ...], hint_channels: int = 1) -> Shapes:
    """A T2I-Adapter (canny, sketch: one hint channel; others three): two blocks a level."""
    shapes = _pair("conv_in", channels[0], 64 * hint_channels, 3, 3)
    before = channels[0]
    for level, width in enumerate(channels):
        for i in (2 * level, 2 * level + 1):
            if width != before:
                shapes |= _pair(f"body.{i}.in_conv", width, before, 1, 1)
            shapes |= _pair(f"body.{i}.block1", width, width, 3, 3) | _pair(
                f"body.{i}.block2", width, width, 1, 1
            )
            before = width
    return shapes


def adapter_lora_shapes(kind: str, network: Shapes, rank: int) -> Shapes:
    """Down, up and alpha for every linear and convolution layer of a network of these shapes."""
    shapes: Shapes = {}
    for key, shape in network.items():
        if key.endswith(".weight") and len(shape) > 1:
            outputs, inputs, *kernel = shape
            stem = LORA_PREFIX[kind] + key.removesuffix(".weight").replace(".", "_")
            shapes[f"{stem}.lora_down.weight"] = (rank, inputs, *kernel)
            shapes[f"{stem}.lora_up.weight"] = (outputs, rank, *(1 for _ in kernel))
            shapes[f"{stem}.alpha"] = ()
    return shapes
