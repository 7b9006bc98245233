"""The trained parts as files that ComfyUI loads: one checkpoint and one motion model, both fp16."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from animatelcm_core.formats import save_motion
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import single_file
from . import networks, stages

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
        "max_position_embeddings": networks.LENGTH,
        "vocab_size": 49408,
    },
    "vae": {
        "ch": 32,
        "ch_mult": [1, 1, 2, 2],
        "num_res_blocks": 1,
        "z_channels": 4,
        "embed_dim": 4,
        "double_z": True,
        "in_channels": 3,
        "out_ch": 3,
        "resolution": 64,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}


def checkpoint_tensors(out: Path) -> dict[str, Tensor]:
    """The image model and the VAE under their single-file names, fp16."""
    image = stages.load_image(out)
    tensors = {
        **single_file.unet_tensors(image.unet.state_dict()),
        **single_file.vae_tensors(load_file(out / "vae.safetensors")),
        **single_file.text_tensors(image.text.state_dict()),
    }
    return {key: value.to(torch.float16).contiguous() for key, value in tensors.items()}


def export(out: Path, to: Path) -> None:
    """Write `to/shapes_sd.safetensors` and `to/shapes_motion.safetensors`."""
    to.mkdir(parents=True, exist_ok=True)
    metadata = {"animatelcm.shapes": json.dumps(SIZES), "modelspec.title": "AnimateLCM small world"}
    save_file(checkpoint_tensors(out), to / "shapes_sd.safetensors", metadata=metadata)
    motion = stages.load_ema(out / "motion.pt")
    save_motion(
        to / "shapes_motion.safetensors", motion, {"animatelcm.heads": "4", "animatelcm.schedule": "animatediff"}
    )
