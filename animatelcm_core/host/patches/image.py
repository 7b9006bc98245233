"""The image patch: a reference image's features are added to a MODEL's UNet while one evaluation runs.

Where and why there: as in motion.py. The features depend on the image, the frames and the size, not on the
step nor the seed, so the first evaluation of a run computes them and the others use them again. A clip that
is sampled in windows shares one image and one count of frames over all of them; what is cached then is
bounded, so that memory does not grow with the clip.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...attach import with_image_features
from ...image_encoder import ImageEncoder, scaled
from ..checks import check_base, check_per_frame
from ..compat import clone_for
from ..load.motion import Motion
from .attachment import hang
from .compiled import marked, tell_compiler
from .encoder import check_encoder_fits
from .evaluation import ALWAYS, Evaluation, Range, around, explain_split_clips, frame_numbers, networks
from .run_cache import RunCache, cache_of, run_cache

KEY = "animatelcm.image"


@dataclass(frozen=True, eq=False)
class ImagePatch:
    """A reference image on a MODEL. Holds no weights: clones of the MODEL share it.

    latents: (1, 4, h, w), or (f, 4, h, w) with one image per frame, in the UNet's units (times 0.18215).
    level_weights: one factor per level of the UNet, outermost first.
    """

    latents: Tensor
    motion_scale: float
    level_weights: Sequence[float]
    active: Range
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, executor: Any, noise: Tensor, *args: Any, **kw: Any) -> Any:
        """OUTER_SAMPLE wrapper: checks the clip before anything is loaded; features last for the run."""
        self.check_clip(noise)
        with run_cache(executor.class_obj, KEY, noise.shape[0]):
            return executor(noise, *args, **kw)

    def check_clip(self, noise: Tensor) -> None:
        """ValueError if noise (f, 4, h, w) has another size than the image, or more frames than images."""
        if noise.shape[-2:] != self.latents.shape[-2:]:
            (h, w), (own_h, own_w) = noise.shape[-2:], self.latents.shape[-2:]
            raise ValueError(
                f"got a latent of {8 * w}x{8 * h}; expected {8 * own_w}x{8 * own_h}, the size of the "
                "reference image. Sample the LATENT of AnimateLCM Image To Video, or set width and height."
            )
        check_per_frame(
            len(self.latents),
            "reference images",
            noise.shape[0],
            "Set frames to the number of images, or pick one image.",
        )

    def prepare(self, call: Evaluation, stack: ExitStack) -> Evaluation:
        """Hook the image's features into every UNet that the evaluation runs on."""
        if not self.active.covers(call):
            return call
        numbers = frame_numbers(call.options, call.x_in.shape[0])
        cache = cache_of(call.options, KEY, len(numbers))
        for unet, encoder in networks(call, KEY):
            assert isinstance(encoder, ImageEncoder)
            features = self.features(cache, encoder, numbers, call.x_in.device, compute_dtype(call.model))
            stack.enter_context(with_image_features(unet, features))
        stack.enter_context(explain_split_clips())
        return replace(call, options=marked(call.options, KEY, len(numbers), self.uid))

    def features(
        self,
        cache: RunCache,
        encoder: ImageEncoder,
        numbers: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> list[Tensor]:
        """Features of these frames, computed once a run while there is room."""

        def compute() -> list[Tensor]:
            latents = self.latents if len(self.latents) == 1 else self.latents[list(numbers)]
            computed = encoder(latents.to(device, dtype), numbers, self.motion_scale)
            return scaled(computed, self.level_weights)

        return cache.get((device, dtype, id(encoder)), numbers, compute)


def compute_dtype(model: Any) -> torch.dtype:
    """Type that the UNet of a BaseModel computes in."""
    return model.manual_cast_dtype or model.get_dtype()


def with_image(
    model: Any,
    motion: Motion,
    latents: Tensor,
    motion_scale: float = 0.8,
    level_weights: Sequence[float] = (),
    active: Range = ALWAYS,
) -> Any:
    """A clone of MODEL whose clips begin as the reference image; an image set before is replaced.

    motion: one with an image encoder (`encoder_of`). latents: (1, 4, h, w) for the whole clip, or one per
    frame, as the VAE gives them. level_weights: one per level, none: all 1.

    Raises ValueError for a base that is not SD1.5, or an encoder of another size.
    """
    check_base(model)
    active.check()
    encoder = motion.encoder.model
    check_encoder_fits(model.get_model_object("diffusion_model"), encoder, motion.name)
    weights = list(level_weights) or [1.0] * len(encoder.channels)
    if len(weights) != len(encoder.channels):
        raise ValueError(
            f"got {len(weights)} level_weights; expected {len(encoder.channels)}, one per level of the UNet "
            "from the outermost. Leave the field empty for all 1."
        )
    model = model.clone()
    patch = ImagePatch(model.model.process_latent_in(latents), motion_scale, weights, active)
    wrappers = {
        WrappersMP.CALC_COND_BATCH: around(patch.prepare),
        WrappersMP.APPLY_MODEL: tell_compiler(KEY),
        WrappersMP.OUTER_SAMPLE: patch.run,
    }
    hang(model, KEY, wrappers, additional=[clone_for(model, motion.encoder)])
    return model
