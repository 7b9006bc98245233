"""Applies an LCM LoRA to a MODEL and rejects files that are not LoRAs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.lora
import comfy.lora_convert

from ...formats import lora_schedule, read_tensors, reading, require_lora
from ..advice import for_artists
from ..messages import log
from .motion import Motion


def with_lora(model: Any, path: str, strength: float) -> Any:
    """A clone of MODEL with the LoRA at `path` on its UNet (text encoders stay: LCM LoRAs have none).

    Raises ValueError if the file is no LoRA, or one for another base model.
    """
    name = Path(path).name
    tensors, _ = read_tensors(path)
    with for_artists():
        require_lora(tensors, name)
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    with reading(name, "a LoRA"):
        patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(tensors), keys, log_missing=False)
        model = model.clone()
        used = model.add_patches(patches, strength)
    if not used:
        raise ValueError(
            f"got {name}, a LoRA that fits no layer of this checkpoint; expected a LoRA for SD1.5. Choose "
            "AnimateLCM_sd15_t2v_lora.safetensors, or none."
        )
    # LCM LoRAs cover the residual blocks, style LoRAs seldom do.
    if not any(".in_layers." in key for key in used):
        log(
            [
                f"got {name}, a LoRA for attention only ({len(used)} weights); expected an LCM LoRA. Few "
                "steps will look blurred: put the LCM LoRA here and style LoRAs into Load LoRA."
            ]
        )
    return model


def lora_warnings(path: str, motion: Motion) -> list[str]:
    """Warnings about an LCM LoRA that was made for another kind of motion model, as far as its file says."""
    made_for = lora_schedule(Path(path), read_tensors(path)[1])
    if made_for in (None, motion.schedule) or not motion.kind.startswith("animatelcm"):
        return []
    return [
        f"got {Path(path).name}, the LCM LoRA for {made_for}, with {motion.name}, a motion model for "
        f"{motion.schedule}; expected two of one kind. Choose the LoRA from the motion model's own page."
    ]
