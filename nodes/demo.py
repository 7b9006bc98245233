"""The small model that comes with the pack, distilled by its own training code."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..animatelcm_core.host.lora import with_lora
from ..animatelcm_core.host.motion import load_file
from ..animatelcm_core.host.patch import with_motion
from ..animatelcm_core.host.schedule_patch import with_schedule
from ..animatelcm_core.host.small_model import load_small
from ..animatelcm_core.schedule import SCHEDULES
from .compat import output, schema
from .inputs import CATEGORY

FOLDER = Path(__file__).resolve().parent.parent / "demo"
CHECKPOINT = "shapes_sd.safetensors"
LORA, MOTION = "shapes_lcm_lora.safetensors", "shapes_lcm_motion.safetensors"


class LoadDemo(io.ComfyNode):
    """MODEL, CLIP and VAE of the small world, with its LCM LoRA and motion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_LoadDemo",
            display_name="AnimateLCM Load Demo",
            category=CATEGORY,
            description="Loads the small video model that comes with the pack: 64x64 clips of a fish, crab "
            "or star in six colours, in 4 steps and without a download. Prompts such as: a red fish swimming "
            "left. Sample it with AnimateLCM Sample at cfg 1.",
            search_aliases=["example", "small model", "shapes"],
            inputs=[],
            outputs=[
                output(io.Model, "MODEL", "Small video model, distilled; 64x64, 16 frames."),
                output(io.Clip, "CLIP", "Its text encoder."),
                output(io.Vae, "VAE", "Its VAE."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        for name in (CHECKPOINT, LORA, MOTION):
            if not (FOLDER / name).is_file():
                raise FileNotFoundError(
                    f"got no file {name} in {FOLDER}; expected the demo model there. Install the pack again, "
                    "or copy the folder demo from its repository."
                )
        model, clip, vae = load_small(str(FOLDER / CHECKPOINT))
        motion = load_file(str(FOLDER / MOTION), MOTION)
        model = with_lora(model, str(FOLDER / LORA), 1.0)
        model = with_schedule(with_motion(model, motion), SCHEDULES[motion.schedule])
        return io.NodeOutput(model, clip, vae)
