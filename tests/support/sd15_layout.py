"""Names and shapes of a Stable Diffusion 1.5 single-file checkpoint and of an LCM LoRA for it, by rule.

Written from the published layouts, not from any class, so that files made by it test whatever reads them. Any
sizes can be given: `SMALL` has the same structure in a few megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """Widths of the networks; the structure (four levels, two layers each going down) is SD1.5's."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: int = 8
    context: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_inner: int = 3072
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)


FULL = Sizes()
SMALL = Sizes(
    channels=(32, 64, 128, 128),
    context=32,
    text_layers=2,
    text_heads=4,
    text_inner=64,
    vae_channels=(32, 64, 128, 128),
)
VOCABULARY, TOKENS = 49408, 77


@dataclass(frozen=True)
class Layer:
    """One layer of the UNet under its two names. kind: resnet, transformer, down, up."""

    kind: str
    ldm: str
    diffusers: str
    inputs: int
    outputs: int


def unet_layers(sizes: Sizes) -> Iterator[Layer]:
    """Every layer of the UNet but the first and last convolution. The innermost level has no attention."""
    channels, depth = sizes.channels, len(sizes.channels)
    width, skips, index = channels[0], [channels[0]], 1
    for level, c in enumerate(channels):
        block = f"down_blocks.{level}"
        for j in range(2):
            yield Layer("resnet", f"input_blocks.{index}.0", f"{block}.resnets.{j}", width, c)
            if level < depth - 1:
                yield Layer("transformer", f"input_blocks.{index}.1", f"{block}.attentions.{j}", c, c)
            width, index = c, index + 1
            skips.append(c)
        if level < depth - 1:
            yield Layer("down", f"input_blocks.{index}.0.op", f"{block}.downsamplers.0.conv", c, c)
            index += 1
            skips.append(c)
    yield Layer("resnet", "middle_block.0", "mid_block.resnets.0", width, width)
    yield Layer("transformer", "middle_block.1", "mid_block.attentions.0", width, width)
    yield Layer("resnet", "middle_block.2", "mid_block.resnets.1", width, width)
    for i, c in enumerate(reversed(channels)):
        block = f"up_blocks.{i}"
        for j in range(3):
            site = f"output_blocks.{3 * i + j}"
            yield Layer("resnet", f"{site}.0", f"{block}.resnets.{j}", width + skips.pop(), c)
            if i > 0:
                yield Layer("transformer", f"{site}.1", f"{block}.attentions.{j}", c, c)
            if j == 2 and i < depth - 1:
                yield Layer("up", f"{site}.{2 if i > 0 else 1}.conv", f"{block}.upsamplers.0.conv", c, c)
            width = c


def _pair(name: str, *shape: int) -> Shapes:
    """Weight and bias of a layer."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _transformer(name: str, c: int, context: int) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = _pair(f"{name}.norm", c) | _pair(f"{name}.proj_in", c, c, 1, 1)
    for attention, keys in (("attn1", c), ("attn2", context)):
        shapes |= {f"{block}.{attention}.to_q.weight": (c, c)}
        shapes |= {f"{block}.{attention}.to_{x}.weight": (c, keys) for x in "kv"}
        shapes |= _pair(f"{block}.{attention}.to_out.0", c, c)
    shapes |= _pair(f"{block}.ff.net.0.proj", 8 * c, c) | _pair(f"{block}.ff.net.2", c, 4 * c)
    for i in (1, 2, 3):
        shapes |= _pair(f"{block}.norm{i}", c)
    return shapes | _pair(f"{name}.proj_out", c, c, 1, 1)


def _resnet(name: str, inputs: int, outputs: int, time: int) -> Shapes:
    shapes = _pair(f"{name}.in_layers.0", inputs) | _pair(f"{name}.in_layers.2", outputs, inputs, 3, 3)
    shapes |= _pair(f"{name}.emb_layers.1", outputs, time)
    shapes |= _pair(f"{name}.out_layers.0", outputs) | _pair(f"{name}.out_layers.3", outputs, outputs, 3, 3)
    if inputs != outputs:
        shapes |= _pair(f"{name}.skip_connection", outputs, inputs, 1, 1)
    return shapes


def unet_shapes(sizes: Sizes) -> Shapes:
    """The UNet in CompVis' names (686 tensors)."""
    first = sizes.channels[0]
    time = 4 * first
    shapes = _pair("time_embed.0", time, first) | _pair("time_embed.2", time, time)
    shapes |= _pair("input_blocks.0.0", first, 4, 3, 3)
    for layer in unet_layers(sizes):
        if layer.kind == "resnet":
            shapes |= _resnet(layer.ldm, layer.inputs, layer.outputs, time)
        elif layer.kind == "transformer":
            shapes |= _transformer(layer.ldm, layer.outputs, sizes.context)
        else:
            shapes |= _pair(layer.ldm, layer.outputs, layer.inputs, 3, 3)
    return shapes | _pair("out.0", first) | _pair("out.2", 4, first, 3, 3)


def _vae_resnet(name: str, inputs: int, outputs: int) -> Shapes:
    shapes = _pair(f"{name}.norm1", inputs) | _pair(f"{name}.conv1", outputs, inputs, 3, 3)
    shapes |= _pair(f"{name}.norm2", outputs) | _pair(f"{name}.conv2", outputs, outputs, 3, 3)
    return shapes | (_pair(f"{name}.nin_shortcut", outputs, inputs, 1, 1) if inputs != outputs else {})


def _vae_side(
    name: str, widths: tuple[int, ...], layers: int, ends: tuple[int, int], resample: str
) -> Shapes:
    """Encoder or decoder. widths: outermost level first; ends: channels in and out."""
    going_down = resample == "downsample"
    levels = list(enumerate(widths)) if going_down else list(enumerate(widths))[::-1]
    width = levels[0][1]
    top = widths[-1]
    shapes = _pair(f"{name}.conv_in", width, ends[0], 3, 3)
    for i, c in levels:
        level = f"{name}.{'down' if going_down else 'up'}.{i}"
        for j in range(layers):
            shapes |= _vae_resnet(f"{level}.block.{j}", width, c)
            width = c
        if i != levels[-1][0]:
            shapes |= _pair(f"{level}.{resample}.conv", c, c, 3, 3)
    for j in (1, 2):
        shapes |= _vae_resnet(f"{name}.mid.block_{j}", top, top)
    shapes |= _pair(f"{name}.mid.attn_1.norm", top)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _pair(f"{name}.mid.attn_1.{part}", top, top, 1, 1)
    return shapes | _pair(f"{name}.norm_out", width) | _pair(f"{name}.conv_out", ends[1], width, 3, 3)


def vae_shapes(sizes: Sizes) -> Shapes:
    """The VAE in CompVis' names (248 tensors)."""
    shapes = _vae_side("encoder", sizes.vae_channels, 2, (3, 8), "downsample")
    shapes |= _vae_side("decoder", sizes.vae_channels, 3, (4, 3), "upsample")
    return shapes | _pair("quant_conv", 8, 8, 1, 1) | _pair("post_quant_conv", 4, 4, 1, 1)


def text_shapes(sizes: Sizes) -> Shapes:
    """The CLIP text model in the names of transformers (197 tensors, one of them integer)."""
    c, inner = sizes.context, sizes.text_inner
    shapes: Shapes = {
        "embeddings.position_ids": (1, TOKENS),
        "embeddings.token_embedding.weight": (VOCABULARY, c),
        "embeddings.position_embedding.weight": (TOKENS, c),
    }
    for i in range(sizes.text_layers):
        layer = f"encoder.layers.{i}"
        for x in "qkv":
            shapes |= _pair(f"{layer}.self_attn.{x}_proj", c, c)
        shapes |= _pair(f"{layer}.self_attn.out_proj", c, c)
        shapes |= _pair(f"{layer}.layer_norm1", c) | _pair(f"{layer}.layer_norm2", c)
        shapes |= _pair(f"{layer}.mlp.fc1", inner, c) | _pair(f"{layer}.mlp.fc2", c, inner)
    return shapes | _pair("final_layer_norm", c)


def checkpoint_shapes(sizes: Sizes) -> Shapes:
    """Everything in a single file, with the prefixes of the parts."""
    parts = {
        "model.diffusion_model.": unet_shapes(sizes),
        "first_stage_model.": vae_shapes(sizes),
        "cond_stage_model.transformer.text_model.": text_shapes(sizes),
    }
    return {prefix + key: shape for prefix, shapes in parts.items() for key, shape in shapes.items()}


# Parts of a residual block: CompVis' name -> diffusers'
_RESNET_PARTS = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


def lora_targets(sizes: Sizes) -> Shapes:
    """diffusers' name of every layer that an LCM LoRA changes -> shape of its weight (278).

    All linear and convolution layers of spatial transformers and residual blocks, and the resampling ones.
    """
    unet, found = unet_shapes(sizes), {}
    for layer in unet_layers(sizes):
        for key, shape in unet.items():
            if key.startswith(layer.ldm + ".") and key.endswith(".weight") and len(shape) > 1:
                part = key[len(layer.ldm) : -len(".weight")].lstrip(".")
                names = [layer.diffusers, _RESNET_PARTS.get(part, part)]
                found[".".join(name for name in names if name)] = shape
    return found


def lora_shapes(sizes: Sizes, rank: int) -> Shapes:
    """Kohya names of an LCM LoRA -> shapes: down, up and alpha for each target."""
    shapes: Shapes = {}
    for name, (outputs, inputs, *kernel) in lora_targets(sizes).items():
        kohya = "lora_unet_" + name.replace(".", "_")
        shapes[f"{kohya}.lora_down.weight"] = (rank, inputs, *kernel)
        shapes[f"{kohya}.lora_up.weight"] = (outputs, rank, *(1 for _ in kernel))
        shapes[f"{kohya}.alpha"] = ()
    return shapes
