"""Writes and reads the trained parts as files that ComfyUI loads: a checkpoint and a motion model, fp16."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.formats import save_motion
from animatelcm_core.motion_module import MotionModel

from ... import single_file
from ...sd15 import TOKENS
from ...tensor_files import save_tensors
from ..paths import JUDGE
from . import networks
from .loop import load_ema
from .stages.image import ImageModel, load_image
from .stages.judge import load_judge
from .stages.vae import load_vae

SIZES = {
    "unet": {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "channel_mult": [1, 2],
        "num_res_blocks": [2, 2],
        "transformer_depth": [1, 1, 1, 1],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": networks.TEXT,
        "num_heads": 4,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "legacy": False,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    },
    "text": {
        "hidden_size": networks.TEXT,
        "intermediate_size": 4 * networks.TEXT,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_act": "quick_gelu",
        "max_position_embeddings": TOKENS,
        "vocab_size": 49408,
    },
    "vae": {
        "embed_dim": 4,
        "ddconfig": {
            "ch": 32,
            "ch_mult": [1, 1, 2, 2],
            "num_res_blocks": 1,
            "z_channels": 4,
            "double_z": True,
            "in_channels": 3,
            "out_ch": 3,
            "resolution": 64,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    },
}


def checkpoint_tensors(out: Path) -> dict[str, Tensor]:
    """The image model and the VAE under their single-file names, fp16."""
    image = load_image(out)
    tensors = {
        **single_file.unet_tensors(image.unet.state_dict()),
        **single_file.vae_tensors(load_vae(out).state_dict()),
        **single_file.text_tensors(image.text.state_dict()),
    }
    return {key: value.to(torch.float16).contiguous() for key, value in tensors.items()}


@dataclass
class SmallModel:
    """Everything a clip needs, as exported: fp16 weights in float32."""

    image: ImageModel
    vae: AutoencoderKL
    motion: MotionModel


def restore_checkpoint(path: Path) -> tuple[ImageModel, AutoencoderKL]:
    """Image model and VAE of a single-file checkpoint of the small world, in float32."""
    file = {key: value.float() for key, value in load_file(path).items()}
    image, vae = ImageModel(), networks.vae()
    single_file.load_part(single_file.unet_tensors, image.unet, file)
    single_file.load_part(single_file.text_tensors, image.text, file)
    single_file.load_part(single_file.vae_tensors, vae, file)
    for model in (image, vae):
        model.eval().requires_grad_(False)
    return image, vae


def rewrite(
    base: Path, changes: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write `base` with the tensors in `changes` in place of its own, in its types and with its metadata."""
    with safe_open(base, framework="pt") as file:
        about = {**(file.metadata() or {}), **(metadata or {})}
    tensors = load_file(base)
    for key, value in changes.items():
        tensors[key] = value.detach().reshape(tensors[key].shape).to(tensors[key].dtype).contiguous()
    return save_tensors(path, tensors, about)


def restore(folder: Path) -> SmallModel:
    """The exported files back into the training side's classes."""
    image, vae = restore_checkpoint(folder / "shapes_sd.safetensors")
    motion = MotionModel(networks.MOTION)
    motion.load_state_dict(load_file(folder / "shapes_motion.safetensors"))
    return SmallModel(image, vae, motion.eval().requires_grad_(False))


def export(out: Path, to: Path) -> None:
    """Write `to/shapes_sd.safetensors`, `to/shapes_motion.safetensors`, and the judge in world/."""
    to.mkdir(parents=True, exist_ok=True)
    metadata = {"animatelcm.shapes": json.dumps(SIZES), "modelspec.title": "AnimateLCM small world"}
    save_tensors(to / "shapes_sd.safetensors", checkpoint_tensors(out), metadata)
    motion = load_ema(out / "motion.pt")
    about = {"animatelcm.heads": "4", "animatelcm.schedule": "animatediff"}
    save_motion(to / "shapes_motion.safetensors", motion, about, torch.float16)
    net = load_judge(out).state_dict()
    save_tensors(JUDGE, {key: value.to(torch.float16).contiguous() for key, value in net.items()})
