"""Stable Diffusion 1.5: its networks with random weights, its constants, its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from animatelcm_core.config import SD15_T2V

from .config_file import ConfigError
from .variants import Variant

LATENT_SCALE = 0.18215  # model-unit latents over the VAE's raw ones: about unit variance
BOS, EOS = 49406, 49407  # CLIP's begin and end tokens; the end token also pads
TOKENS = 77  # of a caption, BOS and EOS included


def build_unet() -> UNet2DConditionModel:
    """eps((b, 4, h, w), t, (b, 77, 768)), random weights."""
    sizes: dict[str, Any] = dict(
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,  # diffusers' name for the number of heads
    )
    return UNet2DConditionModel(**sizes)


def build_vae() -> AutoencoderKL:
    """Pictures (b, 3, h, w) in -1..1 <-> latents (b, 4, h/8, w/8), random weights."""
    sizes: dict[str, Any] = dict(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
        scaling_factor=LATENT_SCALE,
    )
    return AutoencoderKL(**sizes)


def build_text() -> CLIPTextModel:
    """Tokens (b, 77) -> (b, 77, 768), random weights."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=EOS,
        )
    )


def tokenizer(folder: Path | None) -> Callable[[list[str]], Tensor]:
    """Captions -> tokens (b, 77). Raises ConfigError for a folder without the tokenizer's files."""
    if folder is None or not (folder / "vocab.json").is_file() or not (folder / "merges.txt").is_file():
        raise ConfigError(
            f"got base.tokenizer {folder}; expected a folder with vocab.json and merges.txt of Stable "
            "Diffusion 1.5. ComfyUI has one: comfy/sd1_tokenizer."
        )
    clip = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))

    def tokenize(captions: list[str]) -> Tensor:
        return clip(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")[
            "input_ids"
        ]  # type: ignore[return-value]

    return tokenize


def encode(vae: AutoencoderKL, x: Tensor) -> Tensor:
    """Raw latents (b, 4, h/8, w/8) of pictures (b, 3, h, w) in -1..1: the mode of the posterior."""
    posterior: Any = vae.encode(x, return_dict=False)[0]
    return posterior.mean


def decode(vae: AutoencoderKL, z: Tensor) -> Tensor:
    """Pictures (b, 3, h, w), about -1..1, of raw latents (b, 4, h/8, w/8)."""
    pictures: Any = vae.decode(z, return_dict=False)[0]  # type: ignore[arg-type]
    return pictures


VARIANT = Variant(
    name="sd15",
    motion=SD15_T2V,
    size=(512, 512),
    build_unet=build_unet,
    build_vae=build_vae,
    build_text=build_text,
    tokenizer=tokenizer,
)
