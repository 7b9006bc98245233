"""A small SD1.5-shaped model in the running host, and short ways to sample it.

Latents are 8x8, so that a step takes a tenth of a second; the UNet has SD1.5's four levels and all layers.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import small_files
from .inprocess import Comfy


def relative(got: Tensor, expected: Tensor) -> float:
    """Size of the difference beside the expected."""
    return float((got - expected).norm() / expected.norm())


class Studio:
    """MODEL, CLIP, VAE and motion models of seeded weights, loaded by the pack."""

    def __init__(
        self, comfy: Comfy, checkpoint: str = small_files.CHECKPOINT, motion: str = small_files.MOTION
    ) -> None:
        self.comfy, self.checkpoint, self.motion_file = comfy, checkpoint, motion
        self.models = small_files.write(comfy.base / "models")
        self.schedules: dict[str, Any] = self.host("...schedule").SCHEDULES

    def host(self, name: str) -> Any:
        """A module of animatelcm_core.host; `...x` is animatelcm_core.x."""
        return self.comfy.pack("animatelcm_core." + (name[3:] if name.startswith("...") else f"host.{name}"))

    def path(self, name: str) -> str:
        return str(self.models / name)

    @torch.inference_mode()
    def load(self) -> tuple[Any, Any, Any]:
        """MODEL, CLIP, VAE anew, sharing nothing with other loads."""
        return self.host("load.checkpoint").load_checkpoint(self.path(self.checkpoint))

    @cached_property
    def base(self) -> tuple[Any, Any, Any]:
        """MODEL, CLIP, VAE that the tests share."""
        return self.load()

    @property
    def model(self) -> Any:
        return self.base[0]

    def load_motion(self, name: str) -> Any:
        """A motion model, loaded anew."""
        with torch.inference_mode():
            return self.host("load.motion").load_file(self.path(name), Path(name).name)

    @cached_property
    def motion(self) -> Any:
        return self.load_motion(self.motion_file)

    @cached_property
    def other_motion(self) -> Any:
        """AnimateDiff v2 layout, other weights, 32 positions."""
        return self.load_motion(small_files.OTHER_MOTION)

    @cached_property
    def positive(self) -> Any:
        return self.comfy.run("CLIPTextEncode", clip=self.base[1], text="a red fish swimming left")[0]

    @cached_property
    def negative(self) -> Any:
        return self.comfy.run("CLIPTextEncode", clip=self.base[1], text="blurry")[0]

    def scheduled(self, model: Any = None, schedule: str = "text to video") -> Any:
        """MODEL (the shared one) on a schedule of the pack."""
        with torch.inference_mode():
            return self.host("patches.schedule").with_schedule(model or self.model, self.schedules[schedule])

    def video(self, model: Any = None, schedule: str = "text to video", **settings: Any) -> Any:
        """MODEL (the shared one) with the motion model and a schedule."""
        with torch.inference_mode():
            moving = self.host("patches.motion").with_motion(model or self.model, self.motion, **settings)
        return self.scheduled(moving, schedule)

    def lora(self, model: Any, strength: float = 0.8) -> Any:
        """MODEL with the LCM LoRA, by the host's own node."""
        return self.comfy.run(
            "LoraLoaderModelOnly", model=model, lora_name=Path(small_files.LORA).name, strength_model=strength
        )[0]

    def empty(self, frames: int, pixels: int = 64) -> dict[str, Any]:
        return self.comfy.run("EmptyLatentImage", width=pixels, height=pixels, batch_size=frames)[0]

    def sample(self, model: Any, frames: int = 8, cfg: float = 1.0, steps: int = 2, **other: Any) -> Tensor:
        """AnimateLCM Sample: latents (frames, 4, 8, 8)."""
        given = {"seed": 1, "denoise": 1.0, "positive": self.positive, "negative": self.negative} | other
        given.setdefault("latent", self.empty(frames))
        return self.comfy.run("AnimateLCM_Sample", model=model, cfg=cfg, steps=steps, **given)[0]["samples"]

    def ksampler(self, model: Any, frames: int = 8, cfg: float = 1.0, steps: int = 2, **other: Any) -> Tensor:
        """The host's KSampler, lcm and simple if not said otherwise."""
        given = {"seed": 1, "denoise": 1.0, "positive": self.positive, "negative": self.negative} | other
        given = {"sampler_name": "lcm", "scheduler": "simple", "latent_image": self.empty(frames)} | given
        return self.comfy.run("KSampler", model=model, cfg=cfg, steps=steps, **given)[0]["samples"]

    def image(self, frames: int = 2, model: Any = None) -> Tensor:
        """A run of the base model as nobody's video: euler, normal, its own schedule."""
        return self.ksampler(
            model or self.model, frames, cfg=1.5, sampler_name="euler", scheduler="normal", seed=5
        )

    def clips(self) -> dict[str, Tensor]:
        """Runs whose noise is the pack's, or none, so that every host must give the same."""
        euler = {"sampler_name": "euler", "scheduler": "normal", "steps": 3, "cfg": 4.0}
        moving = {name: self.video(schedule=name) for name in self.schedules}
        found = {
            name: self.sample(model, 16, cfg=1.5, steps=3)
            for name, model in moving.items()
            if name != "animatediff"
        }
        found["animatediff"] = self.ksampler(moving["animatediff"], 16, **euler)
        found["lora"] = self.sample(self.lora(moving["text to video"]), 16)
        found["image"] = self.image()
        return found


def hooks_on(model: Any) -> int:
    """Forward hooks in the UNet of MODEL."""
    unet: nn.Module = model.model.diffusion_model
    return sum(len(module._forward_hooks) for module in unet.modules())


def hooked(studio: Studio, conditioning: Any) -> Any:
    """Conditioning that brings the LoRA along, for its own evaluation only."""
    hooks = studio.comfy.module("comfy.hooks").create_hook_lora(
        lora=studio.comfy.module("comfy.utils").load_torch_file(studio.path("loras/small_lcm.safetensors")),
        strength_model=0.8,
        strength_clip=0.0,
    )
    return [[tensor, {**options, "hooks": hooks}] for tensor, options in conditioning]


def watched(model: Any) -> tuple[Any, list[int]]:
    """A clone of MODEL and the list of timesteps its UNet is asked at, filled while it runs."""
    seen: list[int] = []

    def watch(executor: Any, x: Tensor, timesteps: Tensor, *args: Any, **kw: Any) -> Tensor:
        seen.append(int(timesteps[0]))
        assert float(timesteps[0]) == seen[-1]
        return executor(x, timesteps, *args, **kw)

    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "watched", watch)
    return model, seen
