"""Nodes that make an SD1.5 MODEL a video model, and set its noise schedule."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.load.motion import Motion
from ..animatelcm_core.host.patches.evaluation import Range
from ..animatelcm_core.host.patches.motion import with_motion
from ..animatelcm_core.host.patches.schedule import with_schedule
from ..animatelcm_core.schedule import custom
from .inputs import AUTO, CATEGORY, KEEP, MOTION_TYPE, chosen_schedule, percent_input, schedule_input


class ApplyMotionModel(io.ComfyNode):
    """Puts a motion model and its schedule on a MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_ApplyMotionModel",
            display_name="AnimateLCM Apply Motion Model",
            category=CATEGORY,
            description="Makes an SD1.5 MODEL a video model: a batch of latents is sampled as the frames of "
            "one clip. Put LoRA and ControlNet nodes before or after it as you like. If it is applied twice, "
            "the last one counts.",
            search_aliases=["animatediff", "use evolved sampling", "motion module"],
            inputs=[
                io.Model.Input("model", tooltip="SD1.5 model, usually with the LCM LoRA at 0.8 on it."),
                MOTION_TYPE.Input("motion", tooltip="Motion model from AnimateLCM Load Motion Model."),
                schedule_input(AUTO, KEEP, default=AUTO),
                widget(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much the temporal layers add, 0 to 2. 1: as trained. 0: no motion model; "
                    "the frames are sampled as separate images.",
                ),
                percent_input(
                    "start_percent",
                    0.0,
                    "Where in the sampling the motion model begins, 0 to 1 (0: at pure noise).",
                ),
                percent_input(
                    "end_percent",
                    1.0,
                    "Where in the sampling the motion model ends, 0 to 1 (1: at the clean picture).",
                ),
            ],
            outputs=[output(io.Model, "MODEL", "The video model: sample a batch of 16 latents as one clip.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        motion: Motion,
        schedule: str,
        strength: float,
        start_percent: float,
        end_percent: float,
    ) -> io.NodeOutput:
        model = with_motion(model, motion, strength, Range(start_percent, end_percent))
        if schedule != KEEP:
            model = with_schedule(model, chosen_schedule(schedule, motion.schedule))
        return io.NodeOutput(model)


class ModelSampling(io.ComfyNode):
    """Sets a schedule on a MODEL, with its two numbers open to change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_ModelSampling",
            display_name="AnimateLCM Model Sampling",
            category=CATEGORY,
            description="Sets the noise schedule of an SD1.5 MODEL: one of the authors' exact ones, or "
            "one with numbers of your own. Sample with sampler lcm and scheduler simple. The last "
            "schedule set on a MODEL counts.",
            search_aliases=["beta schedule", "ModelSamplingDiscrete", "lcm"],
            inputs=[
                io.Model.Input("model", tooltip="SD1.5 model that the schedule is set on."),
                schedule_input(default="text to video"),
                widget(
                    io.Float,
                    "beta_end",
                    default=0.0,
                    min=0.0,
                    max=0.03,
                    step=0.0005,
                    round=0.0001,
                    tooltip="Last beta of the schedule, above 0.00085 and up to 0.03; 0 is the schedule's "
                    "own (0.012 or 0.014). A higher value makes the start noisier: more motion and contrast. "
                    "0.012 to 0.016 is useful.",
                ),
                widget(
                    io.Int,
                    "original_steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="How many timesteps the model was distilled on, a divisor of 1000. 0: the "
                    "schedule's own (100, or 200 for image to video). 50 is LCM's; 1000 is undistilled.",
                ),
            ],
            outputs=[output(io.Model, "MODEL", "The model with this schedule.")],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, schedule: str, beta_end: float, original_steps: int) -> io.NodeOutput:
        return io.NodeOutput(with_schedule(model, custom(schedule, beta_end, original_steps)))
