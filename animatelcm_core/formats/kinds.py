"""The kinds of weights files that people take for a motion model or a LoRA, and words for each."""

from __future__ import annotations

from typing import Literal

MotionKind = Literal[
    "animatelcm_t2v",
    "animatelcm_i2v",
    "animatediff_v1",
    "animatediff_v2",
    "animatediff_v3",
    "diffusers_motion_adapter",
]

MOTION_WORDS: dict[str, str] = {
    "animatelcm_t2v": "an AnimateLCM text-to-video motion model",
    "animatelcm_i2v": "an AnimateLCM image-to-video motion model",
    "animatediff_v1": "an AnimateDiff v1 motion model",
    "animatediff_v2": "an AnimateDiff v2 motion model",
    "animatediff_v3": "an AnimateDiff v3 motion model",
    "diffusers_motion_adapter": "a motion model in diffusers' MotionAdapter layout",
}

# kind -> words with an article, for a sentence such as `got ...`
KINDS: dict[str, str] = {
    "motion": "a motion model",
    "lora": "a LoRA",
    "motion_lora": "a motion LoRA (a camera move or a style of motion)",
    "adapter_lora": "a LoRA for a ControlNet or T2I-Adapter",
    "control_lora": "a Control-LoRA",
    "controlnet": "a ControlNet",
    "t2i_adapter": "a T2I-Adapter",
    "sparsectrl": "an AnimateDiff SparseCtrl model",
    "hotshotxl": "a HotshotXL motion model, made for SDXL",
    "sdxl_motion": "an AnimateDiff motion model made for SDXL",
    "pia": "a PIA model (its first convolution takes 9 channels)",
    "svd": "a Stable Video Diffusion model (AnimateLCM-SVD is one)",
    "checkpoint": "a checkpoint",
    "unet": "a diffusion model without text encoder and VAE",
    "encoder": "an AnimateLCM image encoder without its motion model",
    "vae": "a VAE",
    "ip_adapter": "an IP-Adapter",
    "clip_vision": "a CLIP vision model",
    "text_encoder": "a text encoder",
    "embedding": "a textual-inversion embedding",
}
