"""Node for clips that are longer than the motion model was trained for."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..animatelcm_core.context import FUSES, SCHEDULES
from ..animatelcm_core.host.checks import MIN_FRAMES
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.messages import warn
from ..animatelcm_core.host.patches.motion import has_motion
from ..animatelcm_core.host.patches.windows import Windows, with_windows
from .inputs import CATEGORY, MOST_FRAMES


class LongVideo(io.ComfyNode):
    """Makes a MODEL sample long clips in overlapping windows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_LongVideo",
            display_name="AnimateLCM Long Video",
            category=CATEGORY,
            description="Samples clips of any length in overlapping windows of 16 frames. Hints of "
            "ControlNets, masks, prompts per frame and the reference image follow the clip through all "
            "windows. A clip that fits one window is sampled as without this node.",
            search_aliases=["context options", "context windows", "sliding window", "freenoise", "loop"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Video model. Its motion model may be applied before or after this node."
                ),
                widget(
                    io.Int,
                    "context_length",
                    default=16,
                    min=2,
                    max=MOST_FRAMES,
                    tooltip=f"Frames of a window, 2 to {MOST_FRAMES}. 16 is what the motion models learned.",
                ),
                widget(
                    io.Int,
                    "overlap",
                    default=4,
                    min=0,
                    max=MOST_FRAMES - 1,
                    tooltip=f"Frames that neighbouring windows share, 0 to {MOST_FRAMES - 1} and less than "
                    "context_length. More frames join them better and take longer: in windows of 16, an "
                    "overlap of 4 takes a third more time per frame, 8 takes twice as long.",
                ),
                widget(
                    io.Combo,
                    "schedule",
                    options=list(SCHEDULES),
                    default="standard",
                    tooltip="standard: windows from the first frame to the last. looped: the last frame "
                    "leads into the first. batched: parts that share nothing, fastest, with jumps.",
                ),
                widget(
                    io.Combo,
                    "fuse",
                    options=list(FUSES),
                    default="pyramid",
                    tooltip="Which window counts where they overlap. pyramid: the one whose middle is "
                    "nearest. linear: a crossfade. flat: both alike.",
                ),
                widget(
                    io.Boolean,
                    "freenoise",
                    default=True,
                    tooltip="All windows start from the same noise in another order, so that they look "
                    "alike. Off: each window has its own noise, and the clip changes more.",
                ),
            ],
            outputs=[output(io.Model, "MODEL", "The model, for clips of any length.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls, model: Any, context_length: int, overlap: int, schedule: str, fuse: str, freenoise: bool
    ) -> io.NodeOutput:
        windows = Windows(context_length, overlap, schedule, fuse, freenoise)
        changed = with_windows(model, windows)
        if context_length < MIN_FRAMES and has_motion(model):
            warn(
                cls,
                [
                    f"got a context_length of {context_length}; expected {MIN_FRAMES} or more (16 is what "
                    "the motion models learned). Use 16: short windows move little or fall apart."
                ],
            )
        return io.NodeOutput(changed)
