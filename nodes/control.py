"""Nodes for ControlNets and T2I-Adapters: a LoRA that adapts them to video, and hints from edges."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..animatelcm_core.edges import MODES, edges
from ..animatelcm_core.host import folders
from ..animatelcm_core.host.checks import check_choice
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.load.adapter_lora import with_adapter_lora
from ..animatelcm_core.host.reference import as_rgb
from .inputs import CATEGORY


class ControlLoRA(io.ComfyNode):
    """Puts an adapter LoRA on a CONTROL_NET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_ControlLoRA",
            display_name="AnimateLCM Control LoRA",
            category=CATEGORY,
            description="Adapts a ControlNet or T2I-Adapter that was made for images to few-step video, by a "
            "LoRA from python -m training control. Follow it with Apply ControlNet and one hint per frame. "
            "The plain adapter can be used beside the adapted one.",
            search_aliases=["controlnet lora", "adapter lora", "t2i adapter"],
            inputs=[
                io.ControlNet.Input(
                    "control_net", tooltip="SD1.5 ControlNet or T2I-Adapter, loaded as usual."
                ),
                widget(
                    io.Combo,
                    "lora",
                    options=folders.names(folders.LORAS),
                    tooltip="Adapter LoRA from models/loras, made for this ControlNet or T2I-Adapter.",
                ),
                widget(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Strength of the LoRA, 0 to 2. 1: as trained. 0: the plain adapter.",
                ),
            ],
            outputs=[output(io.ControlNet, "CONTROL_NET", "The adapted ControlNet or T2I-Adapter.")],
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_rest: object) -> str:
        return folders.fingerprint(folders.LORAS, lora)

    @classmethod
    @checked
    def execute(cls, control_net: Any, lora: str, strength: float) -> io.NodeOutput:
        path = folders.path_of(folders.LORAS, lora)
        return io.NodeOutput(with_adapter_lora(control_net, path, strength))


class EdgeHints(io.ComfyNode):
    """Finds the edges of every frame of a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_EdgeHints",
            display_name="AnimateLCM Edge Hints",
            category=CATEGORY,
            description="Finds the edges of every frame, as hints for a ControlNet or T2I-Adapter for canny "
            "or soft edges. One threshold for the whole clip, so that lines do not flicker.",
            search_aliases=["canny", "edge detection", "soft edge", "preprocessor"],
            inputs=[
                io.Image.Input("images", tooltip="Frames of the clip that gives the motion."),
                widget(
                    io.Combo,
                    "mode",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip="canny: lines of one pixel, for canny models. soft: strength of the edges, for "
                    "soft edge and scribble models.",
                ),
                _threshold("low_threshold", 0.4, "Edges weaker than this are left out"),
                _threshold("high_threshold", 0.8, "Edges stronger than this always count"),
                widget(
                    io.Float,
                    "smoothing",
                    default=1.0,
                    min=0.1,
                    max=16.0,
                    step=0.1,
                    tooltip="Blur before the edges are looked for, 0.1 to 16 pixels. More: fewer, larger "
                    "shapes, and less flicker on noisy video.",
                ),
            ],
            outputs=[output(io.Image, "IMAGE", "White edges on black, one picture per frame.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: torch.Tensor,
        mode: str,
        low_threshold: float,
        high_threshold: float,
        smoothing: float,
    ) -> io.NodeOutput:
        edge_mode = check_choice("mode", mode, MODES)
        if low_threshold >= high_threshold:
            raise ValueError(
                f"got low_threshold {low_threshold:g} and high_threshold {high_threshold:g}; expected low "
                "less than high. Half of it is a good choice."
            )
        return io.NodeOutput(edges(as_rgb(images), edge_mode, low_threshold, high_threshold, smoothing))


def _threshold(name: str, default: float, does: str) -> io.Float.Input:
    return widget(
        io.Float,
        name,
        default=default,
        min=0.0,
        max=4.0,
        step=0.01,
        tooltip=f"{does}, 0 to 4; 0.4 and 0.8 are 100 and 200 in other tools. Lower: more lines.",
    )
