"""The frozen network that is distilled: UNet, VAE and text model out of one single-file checkpoint.

The sizes are Stable Diffusion 1.5's, or the small world's, whose classes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from animatelcm_core.config import SD15_T2V, SHAPES, MotionConfig
from animatelcm_core.formats import MotionFile, build_motion_model, load_motion, read_tensors
from animatelcm_core.motion_module import MotionModel

from . import single_file
from .config import BaseConfig, ConfigError
from .small_world.teacher import networks

Variant = Literal["sd15", "shapes"]
MOTION_SIZES: dict[Variant, MotionConfig] = {"sd15": SD15_T2V, "shapes": SHAPES}
LATENT_SCALE = networks.LATENT_SCALE


def build_unet(variant: Variant) -> UNet2DConditionModel:
    """eps((b, 4, h, w), t, (b, 77, c)), random weights."""
    if variant == "shapes":
        return networks.unet()
    sizes: dict[str, Any] = dict(
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768,
        attention_head_dim=8,  # diffusers' name for the number of heads
    )
    return UNet2DConditionModel(**sizes)


def build_vae(variant: Variant) -> AutoencoderKL:
    """Pictures (b, 3, h, w) in -1..1 <-> latents (b, 4, h/8, w/8), random weights."""
    if variant == "shapes":
        return networks.vae()
    sizes: dict[str, Any] = dict(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
        scaling_factor=LATENT_SCALE,
    )
    return AutoencoderKL(**sizes)


def build_text(variant: Variant) -> CLIPTextModel:
    """Tokens (b, 77) -> (b, 77, c), random weights."""
    if variant == "shapes":
        return networks.text_model()
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
            bos_token_id=networks.START,
            eos_token_id=networks.END,
            pad_token_id=networks.END,
        )
    )


def tokenizer(variant: Variant, folder: Path | None) -> Callable[[list[str]], Tensor]:
    """Captions -> tokens (b, 77). The small world's words need no files."""
    if variant == "shapes":
        return networks.tokenize
    if folder is None or not (folder / "vocab.json").is_file() or not (folder / "merges.txt").is_file():
        raise ConfigError(
            f"got base.tokenizer {folder}; expected a folder with vocab.json and merges.txt of Stable "
            "Diffusion 1.5. ComfyUI has one: comfy/sd1_tokenizer."
        )
    clip = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))

    def tokenize(captions: list[str]) -> Tensor:
        return clip(
            captions, padding="max_length", max_length=networks.LENGTH, truncation=True, return_tensors="pt"
        )["input_ids"]  # type: ignore[return-value]

    return tokenize


@dataclass
class Base:
    """unet: always; vae and text: where samples are encoded or decoded. All frozen, in evaluation mode."""

    variant: Variant
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel
    tokenize: Callable[[list[str]], Tensor]
    fingerprint: str = ""

    @property
    def device(self) -> torch.device:
        return self.unet.device

    def to(self, device: torch.device | str) -> Base:
        for part in (self.unet, self.vae, self.text):
            part.to(device)  # type: ignore[arg-type]
        return self

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> Tensor:
        """(b, 77, c) float32, the text model's last hidden state after its final norm."""
        return self.text(input_ids=self.tokenize(captions).to(self.device)).last_hidden_state.float()

    @torch.no_grad()
    def encode_pixels(self, x: Tensor, at_once: int = 16) -> Tensor:
        """(n, 3, h, w) in -1..1 -> latents (n, 4, h/8, w/8) in model units, float32: the posterior's mode."""
        parts = [
            networks.encode(self.vae, part.to(self.device, self.vae.dtype)).float() * LATENT_SCALE
            for part in x.split(at_once)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: Tensor, at_once: int = 16) -> Tensor:
        """Pictures (n, 3, h, w) in 0..1, float32, of model-unit latents (n, 4, h/8, w/8)."""
        parts = [
            networks.decode(self.vae, part.to(self.device, self.vae.dtype) / LATENT_SCALE).float()
            for part in latents.split(at_once)
        ]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def load_base(config: BaseConfig) -> Base:
    """The frozen network of `config`, on the CPU in its dtype.

    Raises FormatError for a file that is none or unsafe, ConfigError for a checkpoint of another kind.
    """
    tensors, _ = read_tensors(config.checkpoint)
    if config.vae is not None:
        tensors = {**tensors, **_vae_file(config.vae)}
    return Base(
        config.variant,
        *_filled(config, tensors),
        tokenizer(config.variant, config.tokenizer),
        f"{config.variant}:{config.checkpoint.name}:{_digest(tensors)}",
    )


def _vae_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a VAE file, named as in a checkpoint. Raises FormatError, ConfigError."""
    tensors, _ = read_tensors(path)
    if "decoder.conv_in.weight" not in tensors:
        raise ConfigError(f"got base.vae {path.name}; expected a VAE file, with decoder.conv_in.weight in it")
    return {single_file.VAE + key: value for key, value in tensors.items()}


def _filled(
    config: BaseConfig, tensors: Mapping[str, Tensor]
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    variant, dtype = config.variant, getattr(torch, config.dtype)
    with torch.device("meta"):  # no random numbers for weights that are replaced at once
        unet, vae = build_unet(variant), build_vae(variant)
    text = build_text(variant)  # has buffers that no file holds
    for part, model in (
        (single_file.unet_tensors, unet),
        (single_file.vae_tensors, vae),
        (single_file.text_tensors, text),
    ):
        try:
            single_file.load_part(part, model, tensors, dtype)
        except (KeyError, RuntimeError) as error:
            first = str(error).splitlines()[0].strip("'\"")
            raise ConfigError(
                f"got {config.checkpoint}; expected a single-file checkpoint of variant {variant} with UNet, "
                f"VAE and text model ({first})"
            ) from None
    for model in (unet, vae, text):
        model.eval().requires_grad_(False)
    return unet, vae, text


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Tells checkpoints apart by a few rows of every VAE and text tensor: what cached data depends on."""
    import hashlib

    digest = hashlib.sha256()
    for key in sorted(tensors):
        if not key.startswith(single_file.UNET):
            digest.update(key.encode())
            digest.update(tensors[key].flatten()[:64].float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_motion_file(path: Path, variant: Variant) -> MotionFile:
    """A checked motion file. Raises FormatError, or ConfigError for one of other sizes."""
    file = load_motion(*read_tensors(path), path.name)
    expected = MOTION_SIZES[variant]
    if file.config.channels != expected.channels:
        raise ConfigError(
            f"got {path} with channels {file.config.channels}; expected {expected.channels} for {variant}"
        )
    return file


def load_motion_model(path: Path, variant: Variant) -> MotionModel:
    """A frozen motion model in float32. Raises FormatError, or ConfigError for one of other sizes."""
    return build_motion_model(load_motion_file(path, variant), nn, torch.float32)
