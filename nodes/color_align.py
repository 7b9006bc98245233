"""Node that aligns the colours of a clip with those of its reference image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from comfy_api.latest import io

from ..animatelcm_core.color_align import Weights, align, official
from ..animatelcm_core.host.checks import check_per_frame
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.reference import as_rgb
from .inputs import CATEGORY

FLOAT, OFFICIAL = "float", "official"


class ColorAlign(io.ComfyNode):
    """The authors' HSV alignment, and the same without its 8-bit steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_ColorAlign",
            display_name="AnimateLCM Color Align",
            category=CATEGORY,
            description="Brings the mean hue, saturation and brightness of every frame to those of a "
            "reference image: the last step of image to video, which takes out the drift of colours.",
            search_aliases=["color match", "colour match", "color transfer", "hsv"],
            inputs=[
                io.Image.Input("images", tooltip="Decoded frames of the clip."),
                io.Image.Input(
                    "reference",
                    tooltip="Image with the right colours: the one that goes into AnimateLCM Image To Video, "
                    "of any size. A batch of as many images as frames gives every frame its own.",
                ),
                widget(
                    io.Combo,
                    "mode",
                    options=[FLOAT, OFFICIAL],
                    default=FLOAT,
                    tooltip="float: no 8-bit steps, hue as a circle. official: the authors' procedure, byte "
                    "for byte (without mask and smoothing; needs the Python package opencv).",
                ),
                _weight(
                    "hue",
                    0.03,
                    "the hue",
                    "The authors use 0.03: the mean hue of a whole picture says little",
                ),
                _weight("saturation", 1.0, "the saturation", "1: the same as in the reference"),
                _weight("value", 1.0, "the brightness", "1: the same as in the reference"),
                widget(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the frames are aligned: 0 leaves them as they are, 1 aligns them fully.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where frames are measured and changed, one mask or one per frame, of any size; "
                    "the reference is measured under the first one. For float only.",
                ),
                widget(
                    io.Float,
                    "smoothing",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    optional=True,
                    advanced=True,
                    tooltip="Frames over which the shifts are averaged, 0 (none) to 64; 2 to 4 calm a "
                    "flicker that comes from changing content. For float only.",
                ),
            ],
            outputs=[output(io.Image, "IMAGE", "The frames with the reference's colours.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: torch.Tensor,
        reference: torch.Tensor,
        mode: str,
        hue: float,
        saturation: float,
        value: float,
        strength: float,
        mask: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> io.NodeOutput:
        frames, references = as_rgb(images), as_rgb(reference)
        check_per_frame(len(references), "references", len(frames), "Pick one image.")
        weights = Weights(hue, saturation, value)
        if mode == OFFICIAL:
            if mask is not None or smoothing > 0:
                raise ValueError(
                    "got a mask or smoothing with the mode official; expected neither: the authors' "
                    "procedure has none. Use the mode float."
                )
            return io.NodeOutput(_official(frames, references, weights, strength))
        if mask is not None:
            mask = fitted_mask(mask, frames)
        return io.NodeOutput(align(frames, references, weights, strength, mask, smoothing))


def _official(
    frames: torch.Tensor, references: torch.Tensor, weights: Weights, strength: float
) -> torch.Tensor:
    try:
        aligned = official(frames, references, weights)
    except ImportError as error:
        raise ImportError(
            "got no Python package opencv; expected it for the mode official. Install "
            "opencv-python-headless, or use the mode float."
        ) from error
    return aligned if strength == 1 else torch.lerp(frames, aligned, strength)


def fitted_mask(mask: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """mask (h, w) or (n, h, w) -> (1 or frames, h, w) of the frames' size. ValueError for another n."""
    mask = (mask if mask.ndim == 3 else mask[None]).float()
    check_per_frame(len(mask), "masks", len(frames), "Pick one mask.")
    size = frames.shape[1:3]
    if mask.shape[1:] != size:
        mask = F.interpolate(mask[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return mask.clamp(0, 1)


def _weight(name: str, default: float, what: str, about: str) -> io.Float.Input:
    return widget(
        io.Float,
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"Share of the difference in {what} that is corrected, 0 to 1. {about}.",
    )
