"""The small model: Stable Diffusion 1.5's own classes, a hundredth of its size.

8x VAE with 4 latent channels, UNet of 64 and 128 channels with text attention on both levels, two-layer CLIP
text model on the standard vocabulary. Group norm has 32 groups everywhere, as ComfyUI hard-codes it.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from animatelcm_core.config import MotionConfig

from ...sd15 import BOS, EOS, TOKENS
from ...sd15 import LATENT_SCALE as LATENT_SCALE  # the VAE is folded so that it gives unit variance here too
from ...sd15 import decode as decode
from ...sd15 import encode as encode
from ..world.words import WORDS, tokenize

MOTION = MotionConfig(channels=(64, 128), heads=4)
TEXT = 32  # width of the text model: nine tenths of it are the vocabulary's 49408 rows


def vae() -> AutoencoderKL:
    """(b, 3, 64, 64) in -1..1 <-> (b, 4, 8, 8)."""
    sizes: dict[str, Any] = dict(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        sample_size=64,
        scaling_factor=LATENT_SCALE,
    )
    return AutoencoderKL(**sizes)


def unet() -> UNet2DConditionModel:
    """eps((b, 4, 8, 8), t, (b, 77, 32))."""
    sizes: dict[str, Any] = dict(
        sample_size=8,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=2,
        cross_attention_dim=TEXT,
        attention_head_dim=4,  # diffusers' name for the number of heads
    )
    return UNet2DConditionModel(**sizes)


def text_model() -> CLIPTextModel:
    """(b, 77) tokens -> (b, 77, 32). Tokens outside the world's words start at zero and stay there."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=TEXT,
        intermediate_size=4 * TEXT,
        projection_dim=TEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_act="quick_gelu",
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    model = CLIPTextModel(config)
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    table = embedding.weight
    with torch.no_grad():
        known = torch.tensor([BOS, EOS, *WORDS.values()])
        rows = torch.randn(len(known), table.shape[1]) * 0.5
        table.zero_()
        table[known] = rows
    return model


def encode_text(model: CLIPTextModel, captions: list[str]) -> Tensor:
    """Context of the UNet, (b, 77, 32)."""
    return model(input_ids=tokenize(captions)).last_hidden_state


def reconstruct(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Pictures (n, 3, 64, 64) in 0..1, encoded and decoded."""
    return (decode(model, encode(model, pictures * 2 - 1)) / 2 + 0.5).clamp(0, 1)


@torch.inference_mode()
def reconstruct_clips(model: AutoencoderKL, clips: Tensor) -> Tensor:
    """Clips (n, f, 3, 64, 64) in 0..1, encoded and decoded."""
    return torch.cat([reconstruct(model, x) for x in clips.flatten(0, 1).split(64)]).view_as(clips)
