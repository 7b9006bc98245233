"""Loads the frozen base: UNet, VAE and text model of one single-file checkpoint.

Its sizes are those of a variant (variants.py); its classes are the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from animatelcm_core.formats import MotionFile, build_motion_model, load_motion, read_tensors
from animatelcm_core.motion_module import MotionModel

from . import single_file
from .config import BaseConfig, ConfigError
from .sd15 import LATENT_SCALE, decode, encode
from .variants import Tokenize, find_variant


@dataclass
class Base:
    """UNet, VAE and text model, frozen and in evaluation mode."""

    variant: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel
    tokenize: Tokenize
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
            encode(self.vae, part.to(self.device, self.vae.dtype)).float() * LATENT_SCALE
            for part in x.split(at_once)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: Tensor, at_once: int = 16) -> Tensor:
        """Pictures (n, 3, h, w) in 0..1, float32, of model-unit latents (n, 4, h/8, w/8)."""
        parts = [
            decode(self.vae, part.to(self.device, self.vae.dtype) / LATENT_SCALE).float()
            for part in latents.split(at_once)
        ]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def load_base(config: BaseConfig) -> Base:
    """The frozen network of `config`, on the CPU in its dtype.

    Raises FormatError for an unreadable or unsafe file, ConfigError for a checkpoint of another kind.
    """
    tensors, _ = read_tensors(config.checkpoint)
    if config.vae is not None:
        tensors = {**tensors, **_read_vae(config.vae)}
    return Base(
        config.variant,
        *_build_parts(config, tensors),
        find_variant(config.variant).tokenizer(config.tokenizer),
        f"{config.variant}:{config.checkpoint.name}:{_digest(tensors)}",
    )


def _read_vae(path: Path) -> dict[str, Tensor]:
    """Tensors of a VAE file, named as in a checkpoint. Raises FormatError, ConfigError."""
    tensors, _ = read_tensors(path)
    if "decoder.conv_in.weight" not in tensors:
        raise ConfigError(f"got base.vae {path.name}; expected a VAE file, with decoder.conv_in.weight in it")
    return {single_file.VAE + key: value for key, value in tensors.items()}


def _build_parts(
    config: BaseConfig, tensors: Mapping[str, Tensor]
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    variant, dtype = find_variant(config.variant), getattr(torch, config.dtype)
    with torch.device("meta"):  # no random numbers for weights that are replaced at once
        unet, vae = variant.build_unet(), variant.build_vae()
    text = variant.build_text()  # has buffers that no file holds
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
                f"got {config.checkpoint}; expected a single-file checkpoint of variant {variant.name} with "
                f"UNet, VAE and text model ({first})"
            ) from None
    for model in (unet, vae, text):
        model.eval().requires_grad_(False)
    return unet, vae, text


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """A digest of the VAE and the text model, which cached data depend on: a few rows of every tensor."""
    import hashlib

    digest = hashlib.sha256()
    for key in sorted(tensors):
        if not key.startswith(single_file.UNET):
            digest.update(key.encode())
            digest.update(tensors[key].flatten()[:64].float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_motion_file(path: Path, variant: str) -> MotionFile:
    """A checked motion file. Raises FormatError, or ConfigError for one of other sizes."""
    file = load_motion(*read_tensors(path), path.name)
    expected = find_variant(variant).motion
    if file.config.channels != expected.channels:
        raise ConfigError(
            f"got {path} with channels {file.config.channels}; expected {expected.channels} for {variant}"
        )
    return file


def load_motion_model(path: Path, variant: str) -> MotionModel:
    """A frozen motion model in float32. Raises FormatError, or ConfigError for one of other sizes."""
    return build_motion_model(load_motion_file(path, variant), nn, torch.float32)
