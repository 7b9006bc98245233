"""Stage 3: the VAE folded to latents of unit variance, and clips encoded once. Nothing learns."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from ....randomness import sample_generator
from ....tensor_files import save_tensors
from ...world import domains
from ...world.clips import FRAMES, draw, sample_clips
from .. import networks
from ..loop import load_ema


@torch.inference_mode()
def make_latents(out: Path, compile: bool = False, clips: int = 4000) -> None:
    """Encode `clips` clips once: latents.safetensors with latents (n, f, 4, 8, 8) fp16 and labels (n, 3).

    The VAE is first folded so that latents have mean 0 and, times 0.18215, variance 1: see fold.
    """
    if (out / "latents.safetensors").exists():
        return
    model = networks.vae()
    model.load_state_dict(load_ema(out / "vae.pt"))
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = sample_generator(1, 0)
    sample = torch.cat([networks.encode(model, domains.pictures("clean", 64, generator)) for _ in range(16)])
    fold(model, sample)
    save_tensors(out / "vae.safetensors", {k: v.contiguous() for k, v in model.state_dict().items()})
    latents = torch.empty(clips, FRAMES, 4, 8, 8, dtype=torch.float16)
    labels = torch.empty(clips, 3, dtype=torch.int64)
    for start in range(0, clips, 20):
        batch = sample_clips(min(20, clips - start), sample_generator(2, start))
        x = draw(batch).flatten(0, 1) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        mean = networks.encode(model, x) * networks.LATENT_SCALE
        stop = start + len(batch)
        latents[start:stop] = mean.view(len(batch), FRAMES, 4, 8, 8)
        labels[start:stop] = torch.stack([batch.body, batch.colour, batch.motion], dim=1)
        if start % 500 == 0:
            print(f"latents {stop}/{clips}")
    save_tensors(out / "latents.safetensors", {"latents": latents, "labels": labels})


def fold(model: AutoencoderKL, sample: Tensor) -> None:
    """Change the VAE's latent units without changing what it does, so that x 0.18215 gives unit variance.

    sample: (n, 4, 8, 8) raw latents. The 1x1 convolutions beside the latent take the affine map up.
    """
    mean, scale = sample.mean((0, 2, 3)), 1 / (sample.std((0, 2, 3)) * networks.LATENT_SCALE)
    quant, post = model.quant_conv, model.post_quant_conv
    assert quant is not None
    assert post is not None
    assert quant.bias is not None
    assert post.bias is not None
    quant.weight[:4] *= scale[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) * scale
    quant.weight[4:] = 0  # the posterior is a point
    quant.bias[4:] = -30
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight /= scale[None, :, None, None]
