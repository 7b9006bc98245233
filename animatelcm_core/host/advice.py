"""Advice on files of another kind: the node that loads the file, and the folder it belongs in.

The core says what a file is; this is the host's side of the same message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..formats import FormatError

_CONTROLNETS = "Use Load ControlNet Model; the file goes to models/controlnet."
_FOR_SD15 = "Choose a motion model made for SD1.5."

# Identity.kind -> what to do with such a file
ADVICE: dict[str, str] = {
    "motion": "Use Load Motion Model; the file goes to models/animatediff_models.",
    "lora": "Use Load LoRA, or this pack's LoRA box; the file goes to models/loras.",
    "motion_lora": "It is an addition to a motion model, which this pack cannot use yet. Choose a motion "
    "model.",
    "adapter_lora": "Use AnimateLCM Control LoRA; the file goes to models/loras.",
    "control_lora": _CONTROLNETS,
    "controlnet": _CONTROLNETS,
    "t2i_adapter": _CONTROLNETS,
    "sparsectrl": "It is a ControlNet; the file goes to models/controlnet, and ComfyUI-Advanced-ControlNet "
    "loads it.",
    "hotshotxl": _FOR_SD15,
    "sdxl_motion": _FOR_SD15,
    "pia": "This pack cannot use it. For video from an image choose AnimateLCM's image-to-video file.",
    "svd": "It is a whole video model, no addition to SD1.5, and this pack cannot use it yet. A "
    "single-file version goes to models/checkpoints.",
    "checkpoint": "Use Load Checkpoint, or the ckpt_name box; the file goes to models/checkpoints.",
    "unet": "Use Load Diffusion Model; the file goes to models/diffusion_models.",
    "encoder": "Choose the whole image-to-video file.",
    "vae": "Use Load VAE; the file goes to models/vae.",
    "ip_adapter": "Load it with an IP-Adapter node; the file goes to models/ipadapter.",
    "clip_vision": "Use Load CLIP Vision; the file goes to models/clip_vision.",
    "text_encoder": "Use Load CLIP; the file goes to models/text_encoders.",
    "embedding": "Put it in models/embeddings and name it in the prompt.",
    "unknown": "Choose an AnimateLCM or AnimateDiff motion model for SD1.5.",
}


@contextmanager
def for_artists() -> Iterator[None]:
    """Add this advice to a FormatError about a file of another kind."""
    try:
        yield
    except FormatError as error:
        if not error.kind:
            raise
        raise error.advised(ADVICE[error.kind]) from error.__cause__
