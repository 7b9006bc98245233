"""Node that loads the small models that come with the pack, made by its own training code."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.load.control import load_control
from ..animatelcm_core.host.load.lora import with_lora
from ..animatelcm_core.host.load.motion import load_file
from ..animatelcm_core.host.load.small_model import load_small
from ..animatelcm_core.host.patches.motion import with_motion
from ..animatelcm_core.host.patches.schedule import with_schedule
from ..animatelcm_core.schedule import SCHEDULES
from .inputs import CATEGORY

FOLDER = Path(__file__).resolve().parent.parent / "demo"
CHECKPOINT = "shapes_sd.safetensors"
LORA, ADAPTER = "shapes_lcm_lora.safetensors", "shapes_t2i_adapter.safetensors"
TEXT, IMAGE = "text to video", "image to video"
MOTIONS = {TEXT: "shapes_lcm_motion.safetensors", IMAGE: "shapes_i2v.safetensors"}
FINE_VAE = "shapes_vae.safetensors"  # keeps colours that no word names


class LoadDemo(io.ComfyNode):
    """Loads MODEL, CLIP, VAE and CONTROL_NET of the demo, with its LCM LoRA and motion model."""

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
            inputs=[
                widget(
                    io.Combo,
                    "mode",
                    options=list(MOTIONS),
                    default=TEXT,
                    optional=True,  # graphs of 0.1.0 have no mode
                    tooltip="text to video: clips from a prompt. image to video: clips that begin as an "
                    "image, for AnimateLCM Image To Video.",
                ),
            ],
            outputs=[
                output(io.Model, "MODEL", "Small video model, distilled; 64x64, 16 frames."),
                output(io.Clip, "CLIP", "Its text encoder."),
                output(io.Vae, "VAE", "Its VAE."),
                output(
                    io.ControlNet,
                    "CONTROL_NET",
                    "Its T2I-Adapter for AnimateLCM Edge Hints, with its adapter LoRA merged.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, mode: str = TEXT) -> io.NodeOutput:
        own_vae = demo_file(FINE_VAE) if mode == IMAGE else None
        model, clip, vae = load_small(demo_file(CHECKPOINT), own_vae)
        motion = load_file(demo_file(MOTIONS[mode]), MOTIONS[mode])
        model = with_lora(model, demo_file(LORA), 1.0)
        model = with_schedule(with_motion(model, motion), SCHEDULES[motion.schedule])
        return io.NodeOutput(model, clip, vae, load_control(demo_file(ADAPTER)))


def demo_file(name: str) -> str:
    """Path of a file of the demo. Raises FileNotFoundError."""
    path = FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(
            f"got no file {name} in {FOLDER}; expected the demo models there. Install the pack again, or "
            "copy the folder demo from its repository."
        )
    return str(path)
