"""The nodes of the pack, a file for each group, and the list of them that ComfyUI gets."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from ..animatelcm_core.host import folders
from .apply import ApplyMotionModel, ModelSampling
from .color_align import ColorAlign
from .control import ControlLoRA, EdgeHints
from .demo import LoadDemo
from .image_to_video import ImageToVideo
from .loaders import LoadCheckpoint, LoadMotionModel
from .long_video import LongVideo
from .sampling import EmptyVideoLatent, Sample, SamplerLCM, Scheduler

NODES: list[type[io.ComfyNode]] = [
    LoadCheckpoint,
    LoadMotionModel,
    ApplyMotionModel,
    ModelSampling,
    Scheduler,
    SamplerLCM,
    EmptyVideoLatent,
    Sample,
    ImageToVideo,
    ColorAlign,
    ControlLoRA,
    EdgeHints,
    LongVideo,
    LoadDemo,
]


class AnimateLCMExtension(ComfyExtension):
    """The extension object that ComfyUI asks for the list of nodes."""

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register()  # before the first schema lists files
        return NODES
