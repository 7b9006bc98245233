"""Hangs a reference image on a MODEL: its features are added to the UNet while one evaluation runs.

Where and why there: as in patch.py. The features depend on the image, the frames and the size, not on the
step nor the seed, so the first evaluation of a run computes them and the others use them again. A clip that
is sampled in windows shares one image and one count of frames over all of them; what is kept then is bounded,
so that memory does not grow with the clip.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...attach import feature_sites, with_image_features
from ...image_encoder import ImageEncoder, scaled
from ..checks import check_base, width_of
from ..load.motion import Motion, on_device_of
from .compiled import marked, tell_compiler
from .evaluation import check_range, frames_shown, networks, whole_clips, within
from .motion import motion_of
from .run_cache import Kept
from .run_wrappers import replace_wrapper

KEY = "animatelcm.image"
_WRAPPERS = (WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL, WrappersMP.OUTER_SAMPLE)


@dataclass(eq=False)
class ImagePatch:
    """A reference image on a MODEL. Holds no weights: clones of the MODEL share it.

    latents: (1, 4, h, w), or (f, 4, h, w) with one image per frame, in the UNet's units (times 0.18215).
    level_weights: one factor per level of the UNet, outermost first.
    Active from `start_percent` to `end_percent` of the schedule (0 is pure noise).
    """

    latents: Tensor
    motion_scale: float
    level_weights: Sequence[float]
    start_percent: float
    end_percent: float
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    kept: Kept = field(default_factory=Kept)

    def run(self, executor: Any, noise: Tensor, *args: Any, **kw: Any) -> Any:
        """OUTER_SAMPLE wrapper: checks the clip before anything is loaded; forgets features at the end."""
        self.check_clip(noise)
        try:
            return executor(noise, *args, **kw)
        finally:
            self.kept.clear()

    def check_clip(self, noise: Tensor) -> None:
        """ValueError if noise (f, 4, h, w) has another size than the image, or more frames than images."""
        if noise.shape[-2:] != self.latents.shape[-2:]:
            (h, w), (own_h, own_w) = noise.shape[-2:], self.latents.shape[-2:]
            raise ValueError(
                f"got a latent of {8 * w}x{8 * h}; expected {8 * own_w}x{8 * own_h}, the size of the "
                "reference image. Sample the LATENT of AnimateLCM Image To Video, or set width and height."
            )
        images = len(self.latents)
        if images not in (1, noise.shape[0]):
            raise ValueError(
                f"got {images} reference images for {noise.shape[0]} frames; expected one, or one per frame. "
                "Set frames to the number of images, or pick one image."
            )

    def evaluate(
        self,
        executor: Any,
        model: Any,
        conds: Any,
        x_in: Tensor,
        timestep: Tensor,
        options: dict[str, Any],
        *args: Any,
        **kw: Any,
    ) -> Any:
        """CALC_COND_BATCH wrapper. x_in: (f, 4, h, w), one clip or window; the UNet gets (k f) of them."""
        if not within(model.model_sampling, timestep, self.start_percent, self.end_percent):
            return executor(model, conds, x_in, timestep, options, *args, **kw)
        shown = frames_shown(options, x_in.shape[0])
        with ExitStack() as stack:
            for unet, encoder in networks(model, options, KEY):
                assert isinstance(encoder, ImageEncoder)
                features = self.features(encoder, shown, x_in.device, compute_dtype(model))
                stack.enter_context(with_image_features(unet, features))
            stack.enter_context(whole_clips())
            told = marked(options, KEY, len(shown), self.uid)
            return executor(model, conds, x_in, timestep, told, *args, **kw)

    def features(
        self, encoder: ImageEncoder, shown: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> list[Tensor]:
        """Features of these frames, computed once a run while there is room."""

        def compute() -> list[Tensor]:
            latents = self.latents if len(self.latents) == 1 else self.latents[list(shown)]
            computed = encoder(latents.to(device, dtype), shown, self.motion_scale)
            return scaled(computed, self.level_weights)

        return self.kept.of((device, dtype, id(encoder)), shown, compute)


def compute_dtype(model: Any) -> torch.dtype:
    """Type that the UNet of a BaseModel computes in."""
    return model.manual_cast_dtype or model.get_dtype()


def encoder_of(model: Any, motion: Motion | None) -> Motion:
    """The motion model whose image encoder is to be used: `motion`, or else the one on MODEL.

    Raises ValueError if there is none, or it has no image encoder.
    """
    found = motion or motion_of(model)
    wanted = "Load AnimateLCM_sd15_i2v.ckpt as the motion model, or connect it to encoder."
    if found is None:
        raise ValueError(f"got a MODEL without a motion model; expected one with an image encoder. {wanted}")
    if found.encoder is None:
        raise ValueError(
            f"got the motion model {found.name} without an image encoder; expected an image-to-video one. "
            f"{wanted}"
        )
    return found


def check_encoder_fits(unet: Any, encoder: ImageEncoder, name: str) -> None:
    """ValueError unless the encoder has a feature of the right width for every level of `unet`."""
    widths = [width_of(unet.get_submodule(site)) for site in feature_sites(unet)]
    if list(encoder.channels) != widths:
        raise ValueError(
            f"got {name}, whose image encoder has channels {list(encoder.channels)}; expected {widths} for "
            "this MODEL. Use an image encoder and a checkpoint that were made for each other (SD1.5 with "
            "SD1.5)."
        )


def with_image(
    model: Any,
    motion: Motion,
    latents: Tensor,
    motion_scale: float = 0.8,
    level_weights: Sequence[float] = (),
    start_percent: float = 0.0,
    end_percent: float = 1.0,
) -> Any:
    """A clone of MODEL whose clips begin as the reference image; an image set before is replaced.

    motion: one with an image encoder (`encoder_of`). latents: (1, 4, h, w) for the whole clip, or one per
    frame, as the VAE gives them. level_weights: one per level, none: all 1.

    Raises ValueError for a base that is not SD1.5, or an encoder of another size.
    """
    check_base(model)
    check_range(start_percent, end_percent)
    encoder = motion.encoder.model
    check_encoder_fits(model.get_model_object("diffusion_model"), encoder, motion.name)
    weights = list(level_weights) or [1.0] * len(encoder.channels)
    if len(weights) != len(encoder.channels):
        raise ValueError(
            f"got {len(weights)} level_weights; expected {len(encoder.channels)}, one per level of the UNet "
            "from the outermost. Leave the field empty for all 1."
        )
    model = without_image(model)
    latents = model.model.process_latent_in(latents)
    patch = ImagePatch(latents, motion_scale, weights, start_percent, end_percent)
    model.set_additional_models(KEY, [on_device_of(model, motion.encoder)])
    replace_wrapper(model, WrappersMP.CALC_COND_BATCH, KEY, patch.evaluate)
    replace_wrapper(model, WrappersMP.APPLY_MODEL, KEY, tell_compiler(KEY))
    replace_wrapper(model, WrappersMP.OUTER_SAMPLE, KEY, patch.run)
    return model


def without_image(model: Any) -> Any:
    """A clone of MODEL without the image that `with_image` put there."""
    model = model.clone()
    model.remove_additional_models(KEY)
    for kind in _WRAPPERS:
        model.remove_wrappers_with_key(kind, KEY)
    return model
