"""Nodes that sample clips: noise levels, the sampler, the empty clip, and all in one."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..animatelcm_core.host.checks import frame_warnings
from ..animatelcm_core.host.compat import output, schema, widget
from ..animatelcm_core.host.inputs import checked
from ..animatelcm_core.host.messages import show_on_node, warn
from ..animatelcm_core.host.patches.motion import has_motion
from ..animatelcm_core.host.sampling.latents import empty_clip
from ..animatelcm_core.host.sampling.lcm import lcm_sampler
from ..animatelcm_core.host.sampling.run import Settings, sample_clip, sigmas_for
from .inputs import CATEGORY, denoise_input, frames_input, pixels_input, steps_input


class Scheduler(io.ComfyNode):
    """Gives the authors' timesteps as SIGMAS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_Scheduler",
            display_name="AnimateLCM Scheduler",
            category=CATEGORY,
            description="Noise levels at the authors' timesteps, for SamplerCustom and "
            "SamplerCustomAdvanced. The MODEL must carry a schedule of this pack.",
            search_aliases=["basic scheduler", "sigmas", "lcm scheduler"],
            inputs=[
                io.Model.Input("model", tooltip="MODEL with a schedule of this pack, from any of its nodes."),
                steps_input(),
                denoise_input(),
            ],
            outputs=[
                output(io.Sigmas, "SIGMAS", "Noise levels, one more than there are steps; the last is 0.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, steps: int, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(sigmas_for(model, steps, denoise))


class SamplerLCM(io.ComfyNode):
    """Gives the LCM sampler as a SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_SamplerLCM",
            display_name="AnimateLCM Sampler LCM",
            category=CATEGORY,
            description="Multistep consistency sampling, for SamplerCustom and SamplerCustomAdvanced. Same "
            "as the stock sampler lcm, but a seed gives the same clip on every device and every version of "
            "ComfyUI.",
            search_aliases=["lcm", "KSamplerSelect"],
            inputs=[
                widget(
                    io.Float,
                    "s_noise",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Scale of the noise added between steps, 0 to 2. 1: as trained. Slightly less is "
                    "smoother and calmer, more is rougher.",
                ),
            ],
            outputs=[output(io.Sampler, "SAMPLER", "The sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, s_noise: float) -> io.NodeOutput:
        return io.NodeOutput(lcm_sampler(s_noise))


class EmptyVideoLatent(io.ComfyNode):
    """Makes an empty clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_EmptyVideoLatent",
            display_name="AnimateLCM Empty Video Latent",
            category=CATEGORY,
            description="An empty clip: one latent per frame. 16 frames of 512x512 are what AnimateLCM was "
            "trained on.",
            search_aliases=["empty latent", "batch size", "frames"],
            inputs=[
                pixels_input("width"),
                pixels_input("height"),
                frames_input(),
            ],
            outputs=[output(io.Latent, "LATENT", "The empty clip; each latent is one frame.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(cls, width: int, height: int, frames: int) -> io.NodeOutput:
        warn(cls, frame_warnings(frames))
        return io.NodeOutput(empty_clip(width, height, frames))


class Sample(io.ComfyNode):
    """Samples a clip in few steps; the settings that are easy to get wrong are fixed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AnimateLCM_Sample",
            display_name="AnimateLCM Sample",
            category=CATEGORY,
            description="Samples a clip with the LCM sampler at the authors' exact timesteps. For models "
            "with an AnimateLCM schedule; undistilled AnimateDiff models need a KSampler.",
            search_aliases=["ksampler", "sampler", "generate video"],
            inputs=[
                io.Model.Input("model", tooltip="Video model with a schedule of this pack, LCM LoRA on it."),
                io.Conditioning.Input("positive", tooltip="What the clip should show."),
                io.Conditioning.Input(
                    "negative", tooltip="What it should not show; used only at cfg above 1."
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="Frames to sample: an empty clip, or an encoded video with denoise below 1.",
                ),
                widget(
                    io.Int,
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Number that decides the noise, 0 to 2^64 - 1. The same seed gives the "
                    "same clip.",
                ),
                steps_input(),
                widget(
                    io.Float,
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance by the prompt, 0 to 30; 1 to 2 is right. 1 is fastest and ignores the "
                    "negative prompt, above 3 colours burn out.",
                ),
                denoise_input(),
            ],
            outputs=[output(io.Latent, "LATENT", "The clip; decode it with VAE Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
    ) -> io.NodeOutput:
        samples, warnings = sample_clip(
            model, positive, negative, latent, Settings(seed, steps, cfg, denoise)
        )
        if has_motion(model):
            warnings += frame_warnings(len(samples["samples"]))
        show_on_node(cls, warnings)  # the run itself has logged them
        return io.NodeOutput(samples)
