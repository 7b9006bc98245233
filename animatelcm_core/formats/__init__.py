"""Weights files: read safely, recognised by their tensors, checked, and written.

`read_tensors` opens any file; `load_motion` makes a `MotionFile` of its tensors or says what
they are instead; `build_motion_model` and `build_image_encoder` turn that into modules.
"""

from .adapter_lora import AdapterKind, adapter_lora_key, check_adapter_lora
from .build import build_image_encoder, build_motion_model
from .containers.heads import require_file
from .containers.reading import read_tensors
from .containers.safetensors_writer import write_safetensors
from .errors import FormatError, reading
from .identify import Identity, identify, require_lora
from .kinds import MotionKind
from .layout import diffusers_name
from .lora_schedule import lora_schedule
from .motion_file import HEADS_KEY, SCHEDULE_KEY, MotionFile, load_motion
from .writing import convert_motion, published_tensors, save_motion

__all__ = [
    "HEADS_KEY",
    "SCHEDULE_KEY",
    "AdapterKind",
    "FormatError",
    "Identity",
    "MotionFile",
    "MotionKind",
    "adapter_lora_key",
    "build_image_encoder",
    "build_motion_model",
    "check_adapter_lora",
    "convert_motion",
    "diffusers_name",
    "identify",
    "load_motion",
    "lora_schedule",
    "published_tensors",
    "read_tensors",
    "reading",
    "require_file",
    "require_lora",
    "save_motion",
    "write_safetensors",
]
