"""Names and shapes of the released motion files, by rule, whatever reads them."""

from __future__ import annotations

from collections.abc import Iterator

from sd15_layout import Shapes

# layout -> (middle module, rows of the position tables or 0)
LAYOUTS = {
    "animatelcm_t2v": (True, 0),
    "animatelcm_i2v": (True, 0),
    "animatediff_v1": (False, 24),
    "animatediff_v2": (True, 32),
    "animatediff_v3": (False, 32),
    "diffusers_motion_adapter": (True, 32),
}
PUBLISHED = {"attn1": "attention_blocks.0", "attn2": "attention_blocks.1"}
PUBLISHED |= {"norm1": "norms.0", "norm2": "norms.1", "norm3": "ff_norm"}
DIFFUSERS = {name: name for name in PUBLISHED}


def _modules(channels: tuple[int, ...], mid: bool) -> Iterator[tuple[str, int]]:
    for i, c in enumerate(channels):
        yield from ((f"down_blocks.{i}.motion_modules.{j}", c) for j in range(2))
    if mid:
        yield "mid_block.motion_modules.0", channels[-1]
    for i, c in enumerate(reversed(channels)):
        yield from ((f"up_blocks.{i}.motion_modules.{j}", c) for j in range(3))


def _module_shapes(module: str, c: int, names: dict[str, str], rows: int) -> Shapes:
    """The 26 tensors of one temporal module, and its position tables."""
    block = f"{module}.transformer_blocks.0"
    linear = {f"{module}.proj_in": (c, c), f"{module}.proj_out": (c, c)}
    linear |= {f"{block}.{names[a]}.to_out.0": (c, c) for a in ("attn1", "attn2")}
    linear |= {f"{block}.ff.net.0.proj": (8 * c, c), f"{block}.ff.net.2": (c, 4 * c)}
    norms = [f"{module}.norm", *(f"{block}.{names[n]}" for n in ("norm1", "norm2", "norm3"))]
    shapes: Shapes = {f"{norm}.{part}": (c,) for norm in norms for part in ("weight", "bias")}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    for attention in ("attn1", "attn2"):
        shapes |= {f"{block}.{names[attention]}.to_{x}.weight": (c, c) for x in "qkv"}
        if rows and names is PUBLISHED:
            shapes[f"{block}.{names[attention]}.pos_encoder.pe"] = (1, rows, c)
    if rows and names is DIFFUSERS:
        shapes[f"{block}.pos_embed.pe"] = (1, rows, c)
    return shapes


def encoder_shapes(channels: tuple[int, ...]) -> Shapes:
    """The image encoder of the image-to-video file: two blocks a level, `in_conv` where the width changes."""
    convs = {"conv_in": (channels[0], 4, 3, 3)}
    previous = channels[0]
    for level, c in enumerate(channels):
        for i in (2 * level, 2 * level + 1):
            if c != previous:
                convs[f"body.{i}.in_conv"] = (c, previous, 1, 1)
            convs |= {f"body.{i}.block1": (c, c, 3, 3), f"body.{i}.block2": (c, c, 1, 1)}
            previous = c
    shapes: Shapes = {f"img_encoder.{name}.weight": shape for name, shape in convs.items()}
    return shapes | {f"img_encoder.{name}.bias": shape[:1] for name, shape in convs.items()}


def motion_shapes(layout: str, channels: tuple[int, ...]) -> Shapes:
    """Every tensor of a motion file of this layout (a key of `LAYOUTS`) and these level widths."""
    mid, rows = LAYOUTS[layout]
    shapes = _all_modules(channels, mid, rows, diffusers=layout == "diffusers_motion_adapter")
    return shapes | (encoder_shapes(channels) if layout == "animatelcm_i2v" else {})


def _all_modules(channels: tuple[int, ...], mid: bool, rows: int, diffusers: bool) -> Shapes:
    shapes: Shapes = {}
    for module, c in _modules(channels, mid):
        name = module if diffusers else f"{module}.temporal_transformer"
        shapes |= _module_shapes(name, c, DIFFUSERS if diffusers else PUBLISHED, rows)
    return shapes


def published_names(channels: tuple[int, ...]) -> dict[str, str]:
    """diffusers' name of every tensor but the positions -> the published one (both listed in one order)."""
    theirs = _all_modules(channels, True, 0, diffusers=True)
    return dict(zip(theirs, _all_modules(channels, True, 0, diffusers=False), strict=True))
