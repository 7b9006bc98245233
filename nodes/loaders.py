"""Nodes that load a checkpoint ready for clips, or a motion model alone."""

from __future__ import annotations

from comfy_api.latest import io

from ..animatelcm_core.host import folders
from ..animatelcm_core.host.checks import check_base
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.load.checkpoint import load_checkpoint
from ..animatelcm_core.host.load.lora import lora_warnings, with_lora
from ..animatelcm_core.host.load.motion import load_file
from ..animatelcm_core.host.messages import warn
from ..animatelcm_core.host.patches.motion import with_motion
from ..animatelcm_core.host.patches.schedule import with_schedule
from .inputs import AUTO, CATEGORY, MOTION_TYPE, chosen_schedule, schedule_input

_MOTION_TOOLTIP = (
    "Motion model from models/animatediff_models, e.g. AnimateLCM_sd15_t2v.ckpt. AnimateDiff v1, v2 and v3 "
    "for SD1.5 work too."
)


class LoadCheckpoint(io.ComfyNode):
    """Loads a checkpoint, LCM LoRA and motion model, and sets the schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_LoadCheckpoint",
            display_name="AnimateLCM Load Checkpoint",
            category=CATEGORY,
            description="Loads an SD1.5 checkpoint and makes it a video model: LCM LoRA, motion model and "
            "schedule are set. Follow it with AnimateLCM Empty Video Latent and AnimateLCM Sample.",
            search_aliases=["animatelcm", "animatediff", "text to video", "load checkpoint"],
            inputs=[
                widget(
                    io.Combo,
                    "ckpt_name",
                    options=folders.names("checkpoints"),
                    tooltip="Stable Diffusion 1.5 checkpoint from models/checkpoints; it decides the look.",
                ),
                widget(
                    io.Combo,
                    "motion_model",
                    options=folders.names(folders.MOTION_MODELS),
                    tooltip=_MOTION_TOOLTIP,
                ),
                widget(
                    io.Combo,
                    "lcm_lora",
                    options=[folders.NONE, *folders.names(folders.LORAS)],
                    default=folders.NONE,
                    tooltip="LCM LoRA from models/loras, e.g. AnimateLCM_sd15_t2v_lora.safetensors; without "
                    "one few steps look blurred. none: for checkpoints that are LCM already, and for "
                    "AnimateDiff models.",
                ),
                widget(
                    io.Float,
                    "lora_strength",
                    default=0.8,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Strength of the LCM LoRA, 0 to 2; the authors use 0.8. Lower if colours burn "
                    "out, 0 is off.",
                ),
                schedule_input(AUTO, default=AUTO),
            ],
            outputs=[
                output(io.Model, "MODEL", "The video model: sample a batch of 16 latents as one clip."),
                output(io.Clip, "CLIP", "The checkpoint's text encoder."),
                output(io.Vae, "VAE", "The checkpoint's VAE."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, ckpt_name: str, motion_model: str, lcm_lora: str, **_rest: object) -> str:
        files = (("checkpoints", ckpt_name), (folders.MOTION_MODELS, motion_model), (folders.LORAS, lcm_lora))
        return " ".join(folders.fingerprint(*file) for file in files)

    @classmethod
    @checked
    def execute(
        cls, ckpt_name: str, motion_model: str, lcm_lora: str, lora_strength: float, schedule: str
    ) -> io.NodeOutput:
        motion = load_file(folders.path_of(folders.MOTION_MODELS, motion_model), motion_model)
        model, clip, vae = load_checkpoint(folders.path_of("checkpoints", ckpt_name))
        check_base(model)
        if lcm_lora != folders.NONE and lora_strength != 0:
            lora = folders.path_of(folders.LORAS, lcm_lora)
            warn(cls, lora_warnings(lora, motion))
            model = with_lora(model, lora, lora_strength)
        model = with_motion(model, motion)
        model = with_schedule(model, chosen_schedule(schedule, motion.schedule))
        return io.NodeOutput(model, clip, vae)


class LoadMotionModel(io.ComfyNode):
    """Loads a motion model for AnimateLCM Apply Motion Model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_LoadMotionModel",
            display_name="AnimateLCM Load Motion Model",
            category=CATEGORY,
            description="Loads a motion model for SD1.5 (AnimateLCM, AnimateDiff v1, v2, v3, or diffusers' "
            "MotionAdapter layout) and checks it. Connect it to AnimateLCM Apply Motion Model.",
            search_aliases=["animatediff loader", "motion module"],
            inputs=[
                widget(
                    io.Combo,
                    "motion_model",
                    options=folders.names(folders.MOTION_MODELS),
                    tooltip=_MOTION_TOOLTIP,
                ),
            ],
            outputs=[output(MOTION_TYPE, "motion", "The motion model.")],
        )

    @classmethod
    def fingerprint_inputs(cls, motion_model: str) -> str:
        return folders.fingerprint(folders.MOTION_MODELS, motion_model)

    @classmethod
    @checked
    def execute(cls, motion_model: str) -> io.NodeOutput:
        return io.NodeOutput(load_file(folders.path_of(folders.MOTION_MODELS, motion_model), motion_model))
