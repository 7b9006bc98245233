"""Translates tensor names of Stable Diffusion: diffusers' -> the single-file checkpoint that people share.

Worked out from the structure, so any number of levels and layers is covered. `prefix + name` of each part:
model.diffusion_model. (UNet), first_stage_model. (VAE), cond_stage_model.transformer. (text model).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str, layers: int, attention_levels: set[str]) -> str:
    """Single-file name of a diffusers UNet parameter.

    layers: layers per block going down; attention_levels: up blocks with attention, e.g. {"up_blocks.0"}.
    """
    stem, _, leaf = name.rpartition(".")
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{leaf}"
    match = re.fullmatch(r"(down|up|mid)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        raise KeyError(f"got {name}; expected a parameter of an SD1.5-shaped UNet")
    side, level, kind, layer, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        head, _, leaf = rest.rpartition(".")
        rest = f"{_RESNET[head]}.{leaf}"
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{rest}"
    if side == "down":
        block = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else layer)
        if kind == "downsamplers":
            return f"input_blocks.{block}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{block}.{int(kind == 'attentions')}.{rest}"
    block = level * (layers + 1) + (layers if kind == "upsamplers" else layer)
    place = int(kind == "attentions")
    if kind == "upsamplers":
        place = 2 if f"up_blocks.{level}" in attention_levels else 1
    return f"output_blocks.{block}.{place}.{rest}"


def vae_name(name: str, levels: int) -> str:
    """Single-file name of a diffusers AutoencoderKL parameter; its decoder counts levels from the inside."""
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        head, _, rest = name.partition("mid_block.attentions.0.")
        stem, _, leaf = rest.rpartition(".")
        return f"{head}mid.attn_1.{_VAE_ATTENTION[stem]}.{leaf}"
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)


def renamed(part: Callable[[dict[str, Tensor]], dict[str, Tensor]], model: nn.Module) -> dict[str, str]:
    """Single-file name -> name in `model`, for one of the three functions below."""
    state = model.state_dict()
    return dict(zip(part(state), state, strict=True))


def load_part(
    part: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    model: nn.Module,
    file: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Give `model`, which may be on the meta device, copies of a single-file checkpoint's tensors.

    Raises KeyError for one that is missing, RuntimeError for one of another size.
    """
    state = model.state_dict()
    values = {
        own: file[name].reshape(state[own].shape).to(dtype, copy=True)
        for name, own in renamed(part, model).items()
    }
    model.load_state_dict(values, assign=True)


def unet_tensors(state: Mapping[str, Tensor], layers: int = 2) -> dict[str, Tensor]:
    attention_levels = {m[0] for key in state if (m := re.match(r"up_blocks\.\d+(?=\.attentions)", key))}
    return {UNET + unet_name(key, layers, attention_levels): value for key, value in state.items()}


def vae_tensors(state: Mapping[str, Tensor], levels: int = 4) -> dict[str, Tensor]:
    """The attention's linear layers become 1x1 convolutions, as the single file has them."""
    out = {}
    for key, value in state.items():
        if re.search(r"mid_block\.attentions\.0\.to_.*weight$", key):
            value = value[:, :, None, None]
        out[VAE + vae_name(key, levels)] = value
    return out


def text_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' CLIPTextModel; newer releases leave the `text_model.` out of the names."""
    return {
        TEXT + (key if key.startswith("text_model.") else f"text_model.{key}"): value
        for key, value in state.items()
        if not key.endswith("position_ids")
    }
