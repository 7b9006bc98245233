"""Weights files of a small SD1.5-shaped model with seeded numbers, made once per test process.

A process of its own writes them: the maker wants the repository on sys.path, where nodes/ hides ComfyUI's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import ROOT

CHECKPOINT = "checkpoints/small.safetensors"
MOTION = "animatediff_models/small_t2v.safetensors"
OTHER_MOTION = "animatediff_models/small_v2.safetensors"
WIDE_MOTION = "animatediff_models/small_t2v_32bit.safetensors"
IMAGE_MOTION = "animatediff_models/small_i2v.safetensors"
LORA = "loras/small_lcm.safetensors"
CONTROLNET = "controlnet/small_controlnet.safetensors"
T2I_ADAPTER = "controlnet/small_t2i.safetensors"
CONTROL_LORA = "loras/small_controlnet_lora.safetensors"
T2I_LORA = "loras/small_t2i_lora.safetensors"
# Two levels, for what takes long: compiling.
TINY_CHECKPOINT = "checkpoints/tiny.safetensors"
TINY_MOTION = "animatediff_models/tiny_t2v.safetensors"

_MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from pathlib import Path
import torch
import seeded_files as s
models = Path(sys.argv[2])
for folder in ("checkpoints", "animatediff_models", "loras", "controlnet"):
    (models / folder).mkdir(parents=True, exist_ok=True)
s.write_sd15(models / "checkpoints/small.safetensors", sizes=s.SMALL)
motions = models / "animatediff_models"
s.write_motion(motions / "small_t2v.safetensors", sizes=s.SMALL)
s.write_motion(motions / "small_t2v_32bit.safetensors", sizes=s.SMALL, dtype=torch.float32)
s.write_motion(motions / "small_v2.safetensors", layout="animatediff_v2", seed=7, sizes=s.SMALL)
s.write_motion(motions / "small_i2v.safetensors", layout="animatelcm_i2v", seed=3, sizes=s.SMALL)
tiny = replace(s.SMALL, channels=(32, 64))
s.write_sd15(models / "checkpoints/tiny.safetensors", sizes=tiny)
s.write_motion(motions / "tiny_t2v.safetensors", sizes=tiny)
s.write_controlnet(models / "controlnet/small_controlnet.safetensors", sizes=s.SMALL)
s.write_t2i_adapter(models / "controlnet/small_t2i.safetensors", sizes=s.SMALL)
s.write_adapter_lora(models / "loras/small_controlnet_lora.safetensors", "controlnet", sizes=s.SMALL)
s.write_adapter_lora(models / "loras/small_t2i_lora.safetensors", "t2i_adapter", sizes=s.SMALL)
s.write_lora(models / "loras/small_lcm.safetensors", sizes=s.SMALL)
"""


def write(models: Path) -> Path:
    """Write the files under `models`, unless they are there; `models` itself comes back."""
    if not (models / LORA).exists():
        support = ROOT / "tests" / "support"
        subprocess.run([sys.executable, "-c", _MAKE, str(support), str(models)], check=True, cwd=models)
    return models
