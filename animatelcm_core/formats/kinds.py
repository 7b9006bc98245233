"""The kinds of weights files that people put into a motion or LoRA box: words for each, and its place."""

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

_CONTROLNETS = "Use Load ControlNet Model; the file goes to models/controlnet."
_FOR_SD15 = "Choose a motion model made for SD1.5."

# kind -> (words with an article, what to do with such a file)
KINDS: dict[str, tuple[str, str]] = {
    "motion": ("a motion model", "Use Load Motion Model; the file goes to models/animatediff_models."),
    "lora": ("a LoRA", "Use Load LoRA, or this pack's LoRA box; the file goes to models/loras."),
    "motion_lora": (
        "a motion LoRA (a camera move or a style of motion)",
        "It is an addition to a motion model, which this pack cannot use yet. Choose a motion model.",
    ),
    "adapter_lora": (
        "a LoRA for a ControlNet or T2I-Adapter",
        "Use AnimateLCM Control LoRA; the file goes to models/loras.",
    ),
    "control_lora": ("a Control-LoRA", _CONTROLNETS),
    "controlnet": ("a ControlNet", _CONTROLNETS),
    "t2i_adapter": ("a T2I-Adapter", _CONTROLNETS),
    "sparsectrl": (
        "an AnimateDiff SparseCtrl model",
        "It is a ControlNet; the file goes to models/controlnet, and ComfyUI-Advanced-ControlNet loads it.",
    ),
    "hotshotxl": ("a HotshotXL motion model, made for SDXL", _FOR_SD15),
    "sdxl_motion": ("an AnimateDiff motion model made for SDXL", _FOR_SD15),
    "pia": (
        "a PIA model (its first convolution takes 9 channels)",
        "This pack cannot use it. For video from an image choose AnimateLCM's image-to-video file.",
    ),
    "svd": (
        "a Stable Video Diffusion model (AnimateLCM-SVD is one)",
        "It is a whole video model, no addition to SD1.5, and this pack cannot use it yet. "
        "A single-file version goes to models/checkpoints.",
    ),
    "checkpoint": (
        "a checkpoint",
        "Use Load Checkpoint, or the ckpt_name box; the file goes to models/checkpoints.",
    ),
    "unet": (
        "a diffusion model without text encoder and VAE",
        "Use Load Diffusion Model; the file goes to models/diffusion_models.",
    ),
    "encoder": (
        "an AnimateLCM image encoder without its motion model",
        "Choose the whole image-to-video file.",
    ),
    "vae": ("a VAE", "Use Load VAE; the file goes to models/vae."),
    "ip_adapter": ("an IP-Adapter", "Load it with an IP-Adapter node; the file goes to models/ipadapter."),
    "clip_vision": ("a CLIP vision model", "Use Load CLIP Vision; the file goes to models/clip_vision."),
    "text_encoder": ("a text encoder", "Use Load CLIP; the file goes to models/text_encoders."),
    "embedding": (
        "a textual-inversion embedding",
        "Put it in models/embeddings and name it in the prompt.",
    ),
}
