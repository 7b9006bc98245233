"""Weights files in the real layouts with seeded numbers: for tests and benchmarks without any download.

Load it by its path, or put this folder on `sys.path`. Numbers depend on the seed and the tensor's published
name alone and fit into 16 bits: a .ckpt in float32, a .safetensors and diffusers' layout of one seed hold the
same values.

Weights are drawn with a standard deviation of 1 / sqrt(fan in), so that activations keep their size through
any depth, and a motion model changes what its UNet computes by tens of percent.
"""

from __future__ import annotations

import hashlib
import json
import sys
from math import prod
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _folder in (_HERE, _HERE.parents[1]):  # the layouts beside this file, and the repository
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

import torch  # noqa: E402
from adapter_layouts import adapter_lora_shapes, controlnet_shapes, t2i_shapes  # noqa: E402
from motion_layouts import LAYOUTS, motion_shapes, published_names  # noqa: E402
from sd15_layout import (  # noqa: E402
    FULL,
    SMALL,
    TOKENS,
    VOCABULARY,
    Shapes,
    Sizes,
    checkpoint_shapes,
    lora_shapes,
)
from torch import Tensor  # noqa: E402

from animatelcm_core.formats import write_safetensors  # noqa: E402

__all__ = [
    "FULL",
    "LAYOUTS",
    "SMALL",
    "Sizes",
    "motion_tensors",
    "write_adapter_lora",
    "write_controlnet",
    "write_lora",
    "write_motion",
    "write_sd15",
    "write_t2i_adapter",
]

MOTION_GAIN = 0.25  # of a temporal module's last layer: its residual stays smaller than what it is added to
LORA_RANK = 64
LORA_GAIN = 0.1  # a LoRA's change beside the weight that it changes, at strength 1


def positions(rows: int, channels: int) -> Tensor:
    """(1, rows, channels) sinusoid, computed in float64."""
    angles = torch.arange(rows, dtype=torch.float64)[:, None]
    angles = angles / 10000 ** (torch.arange(0, channels, 2, dtype=torch.float64) / channels)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(1, rows, channels).float()


def make(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The tensor of this name: float32 numbers that 16 bits hold exactly, or the integer `position_ids`."""
    if name.endswith("position_ids"):
        return torch.arange(TOKENS)[None]
    if name.endswith((".pe", ".pos_encoding")):
        return positions(*shape[1:]).half().float()
    if name.endswith(".alpha"):
        return torch.tensor(LORA_RANK / 8)  # the released file's ratio of alpha to rank
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    numbers = torch.randn(shape, generator=generator)
    if name.endswith(".bias"):
        numbers.mul_(0.02)
    elif len(shape) == 1:  # weight of a norm
        numbers.mul_(0.05).add_(1)
    elif "embedding.weight" in name:
        numbers.mul_(0.02)
    elif name.endswith(".lora_up.weight"):
        numbers.mul_(LORA_GAIN)
    else:
        numbers.mul_(prod(shape[1:]) ** -0.5)
        if name.endswith("temporal_transformer.proj_out.weight"):
            numbers.mul_(MOTION_GAIN)
    return numbers.half().float()


def _make_as(dtype: torch.dtype, name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    tensor = make(name, shape, seed)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _write(
    path: Path, shapes: Shapes, seed: int, dtype: torch.dtype, metadata: dict[str, str], names: dict[str, str]
) -> Path:
    """.safetensors, one tensor in memory at a time; or PyTorch's pickle, by the file's name.

    names: published name of the tensors that have another one in this file.
    """
    path = Path(path)

    def tensor(name: str) -> Tensor:
        return _make_as(dtype, names.get(name, name), shapes[name], seed)

    if path.suffix == ".safetensors":
        integers = [name for name in shapes if name.endswith("position_ids")]
        specs = {name: (torch.int64 if name in integers else dtype, shape) for name, shape in shapes.items()}
        write_safetensors(path, specs, tensor, metadata)
    else:
        torch.save({name: tensor(name) for name in shapes}, path)
    return path


def write_sd15(path: Path, seed: int = 0, sizes: Sizes = FULL, dtype: torch.dtype = torch.float16) -> Path:
    """A Stable Diffusion 1.5 checkpoint: UNet, VAE, text encoder. A small one tells its sizes (metadata)."""
    metadata = {} if sizes == FULL else {"animatelcm.shapes": json.dumps(host_sizes(sizes))}
    return _write(path, checkpoint_shapes(sizes), seed, dtype, metadata, {})


def write_motion(
    path: Path,
    layout: str = "animatelcm_t2v",
    seed: int = 1,
    sizes: Sizes = FULL,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """A motion file of one of the `LAYOUTS`."""
    names = published_names(sizes.channels)
    return _write(path, motion_shapes(layout, sizes.channels), seed, dtype, {}, names)


def write_lora(path: Path, seed: int = 2, sizes: Sizes = FULL) -> Path:
    """An LCM LoRA: kohya names, rank 64, alpha 8."""
    metadata = {"ss_network_dim": str(LORA_RANK), "ss_network_alpha": str(LORA_RANK // 8)}
    return _write(path, lora_shapes(sizes, LORA_RANK), seed, torch.float16, metadata, {})


def write_controlnet(path: Path, seed: int = 5, sizes: Sizes = FULL) -> Path:
    """A ControlNet as its authors released them, with the prefix `control_model.`."""
    names = {f"control_model.{key}": key for key in controlnet_shapes(sizes)}
    shapes = {f"control_model.{key}": shape for key, shape in controlnet_shapes(sizes).items()}
    return _write(path, shapes, seed, torch.float16, {}, names)


def write_t2i_adapter(path: Path, seed: int = 6, sizes: Sizes = FULL) -> Path:
    """A T2I-Adapter for hints of one channel."""
    return _write(path, t2i_shapes(sizes.channels), seed, torch.float16, {}, {})


def write_adapter_lora(path: Path, kind: str, seed: int = 8, sizes: Sizes = FULL, rank: int = 8) -> Path:
    """A LoRA for the file of `write_controlnet` (kind controlnet) or `write_t2i_adapter` (t2i_adapter)."""
    network = controlnet_shapes(sizes) if kind == "controlnet" else t2i_shapes(sizes.channels)
    return _write(path, adapter_lora_shapes(kind, network, rank), seed, torch.float16, {}, {})


def motion_tensors(
    layout: str, seed: int = 1, sizes: Sizes = SMALL, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """What `write_motion` writes, in memory."""
    names = published_names(sizes.channels)
    shapes = motion_shapes(layout, sizes.channels)
    return {name: _make_as(dtype, names.get(name, name), shape, seed) for name, shape in shapes.items()}


def host_sizes(sizes: Sizes) -> dict[str, object]:
    """The sizes in ComfyUI's own terms, as the pack's loader of small checkpoints reads them."""
    first, depth = sizes.channels[0], len(sizes.channels)
    attention = [1] * (depth - 1) + [0]  # spatial transformers per layer, by level
    unet = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": first,
        "channel_mult": [c // first for c in sizes.channels],
        "num_res_blocks": [2] * depth,
        "transformer_depth": [n for n in attention for _ in range(2)],
        "transformer_depth_output": [n for n in attention for _ in range(3)],
        "transformer_depth_middle": 1,
        "context_dim": sizes.context,
        "num_heads": sizes.heads,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "legacy": False,
    }
    text = {
        "hidden_size": sizes.context,
        "intermediate_size": sizes.text_inner,
        "num_attention_heads": sizes.text_heads,
        "num_hidden_layers": sizes.text_layers,
        "max_position_embeddings": TOKENS,
        "hidden_act": "quick_gelu",
        "eos_token_id": 49407,
        "vocab_size": VOCABULARY,
    }
    vae_first = sizes.vae_channels[0]
    decoder = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": vae_first,
        "ch_mult": [c // vae_first for c in sizes.vae_channels],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"unet": unet, "text": text, "vae": {"ddconfig": decoder, "embed_dim": 4}}
