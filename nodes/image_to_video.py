"""Node that puts the reference image that a clip begins with on a MODEL."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..animatelcm_core.host.checks import check_per_frame, frame_warnings, shown
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.load.motion import Motion
from ..animatelcm_core.host.messages import warn
from ..animatelcm_core.host.patches.encoder import encoder_of
from ..animatelcm_core.host.patches.evaluation import Range
from ..animatelcm_core.host.patches.image import with_image
from ..animatelcm_core.host.patches.motion import has_motion
from ..animatelcm_core.host.reference import as_rgb, reference_latents
from ..animatelcm_core.host.sampling.latents import empty_clip
from .inputs import CATEGORY, MOTION_TYPE, frames_input, percent_input, pixels_input


class ImageToVideo(io.ComfyNode):
    """Puts a reference image on a MODEL, and makes the empty clip to sample."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_ImageToVideo",
            display_name="AnimateLCM Image To Video",
            category=CATEGORY,
            description="Makes clips that begin as an image: its features are added inside the MODEL. Sample "
            "the LATENT with 4 steps at cfg 1, then align the colours with AnimateLCM Color Align. With "
            "several images, one per frame, it makes video to video.",
            search_aliases=["i2v", "animatelcm-i2v", "image to video", "video to video", "reference"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Video model with AnimateLCM_sd15_i2v as its motion model, on the schedule image "
                    "to video.",
                ),
                io.Vae.Input("vae", tooltip="The checkpoint's VAE."),
                io.Image.Input(
                    "image",
                    tooltip="Reference image of any size: it is resized to cover width and height, the "
                    "middle is used. A batch of as many images as frames gives every frame its own.",
                ),
                pixels_input("width"),
                pixels_input("height"),
                frames_input(),
                widget(
                    io.Float,
                    "motion_scale",
                    default=0.8,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much moves, 0 to 2. 0: a still picture. 0.8: the authors' value. A higher "
                    "value moves more and strays further from the image.",
                ),
                widget(
                    io.String,
                    "level_weights",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="How strongly the image acts on each of the four levels of the model, from fine "
                    "to coarse, 0 to 2 each, e.g. 1, 1, 0.5, 0.5. Empty: all 1. One number: for all.",
                ),
                percent_input(
                    "start_percent",
                    0.0,
                    "Where in the sampling the image starts to act, 0 (pure noise) to 1 (the clean picture).",
                    optional=True,
                ),
                percent_input(
                    "end_percent",
                    1.0,
                    "Where in the sampling the image stops acting, 0 (pure noise) to 1 (the clean picture).",
                    optional=True,
                ),
                MOTION_TYPE.Input(
                    "encoder",
                    optional=True,
                    tooltip="Motion model whose image encoder is used, if the MODEL has another one: its "
                    "encoder works with other motion models too.",
                ),
            ],
            outputs=[
                output(io.Model, "MODEL", "The model with the image; for this size only."),
                output(io.Latent, "LATENT", "The empty clip to sample, one latent per frame."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        vae: Any,
        image: torch.Tensor,
        width: int,
        height: int,
        frames: int,
        motion_scale: float,
        level_weights: str = "",
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        encoder: Motion | None = None,
    ) -> io.NodeOutput:
        clip, image = empty_clip(width, height, frames), as_rgb(image)
        check_per_frame(len(image), "images", frames, f"Set frames to {len(image)}, or pick one image.")
        found = encoder_of(model, encoder)
        weights = parse_weights(level_weights, len(found.encoder.model.channels))
        latents = reference_latents(vae, image, width, height)
        warn(cls, [*frame_warnings(frames), *model_warnings(model)])
        model = with_image(model, found, latents, motion_scale, weights, Range(start_percent, end_percent))
        return io.NodeOutput(model, clip)


def model_warnings(model: Any) -> list[str]:
    """Warnings about a MODEL that gets a reference image."""
    if has_motion(model):
        return []
    return [
        "got a MODEL without a motion model; expected one. The frames will be separate images: put "
        "AnimateLCM Apply Motion Model, or AnimateLCM Load Checkpoint, before this node."
    ]


def parse_weights(text: str, levels: int) -> list[float]:
    """Numbers of `level_weights`, one per level; empty: all 1; one number: for all. Raises ValueError."""
    words = text.replace(",", " ").split()
    try:
        weights = [float(word) for word in words] or [1.0]
        if len(weights) == 1:
            weights *= levels
        if len(weights) != levels or not all(0 <= weight <= 2 for weight in weights):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"got level_weights {shown(text)}; expected {levels} numbers from 0 to 2, from the finest "
            "level to the coarsest, or one for all. Leave the field empty for all 1."
        ) from None
    return weights
