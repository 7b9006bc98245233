"""The plan of an evaluation, and its folder of clips: one set of settings per folder."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from animatelcm_core.atomic import write_text
from animatelcm_core.schedule import SCHEDULES

from ..arithmetic import wait_for
from ..config import BaseConfig, ConfigError
from ..pipeline import Conditions, Pipeline, Precision, Sampler, Sampling
from ..randomness import generator_for
from ..samplers import Spacing
from .rows import digest
from .videos import clip_path, codec, encoding, read_about, write_video

ROLES = ("checkpoint", "motion", "lora")


@dataclass(frozen=True)
class Plan:
    """captions: taken in turn by the clips; steps: every number of steps that clips are sampled with.

    schedule: a name in SCHEDULES, None for the one that the motion file names. size: height, width in pixels.
    The noise of clip i depends on (seed, i) alone: methods and steps are paired, clip by clip.
    """

    base: BaseConfig
    captions: tuple[str, ...]
    clips: int
    steps: tuple[int, ...]
    sampler: Sampler
    guidance: float
    spacing: Spacing
    frames: int
    size: tuple[int, int]
    seed: int = 0
    strength: float = 1.0
    schedule: str | None = None
    precision: Precision = "no"

    def sampling(self, steps: int) -> Sampling:
        return Sampling(self.sampler, steps, self.guidance, self.spacing)

    def clip_captions(self) -> list[str]:
        """The caption of each clip."""
        return [self.captions[number % len(self.captions)] for number in range(self.clips)]

    def paths(self, to: Path, steps: int) -> list[Path]:
        """Where the clips at this number of steps are."""
        return [clip_path(to, steps, number) for number in range(self.clips)]

    def about(self) -> dict[str, Any]:
        """All settings of a clip but its number, caption and steps. Reads the weights for their digests."""
        files = {role: getattr(self.base, role) for role in ROLES}
        return {
            "variant": self.base.variant,
            "files": {k: {"name": p.name, "digest": digest([p])} for k, p in files.items() if p is not None},
            "captions": hashlib.sha256("\n".join(self.captions).encode()).hexdigest()[:12],
            "lora_strength": self.strength,
            "schedule": asdict(SCHEDULES[self.schedule]) if self.schedule else "as the files say",
            "method": self.sampler,
            "guidance": self.guidance,
            "spacing": self.spacing,
            "frames": self.frames,
            "size": list(self.size),
            "seed": self.seed,
            "precision": self.precision,
            "video": [codec(), encoding(codec(), self.size)[0]],
        }


def claim_folder(to: Path, about: dict[str, Any]) -> None:
    """Write into `to` what its clips are made with. Raises ConfigError if it holds clips made otherwise."""
    path = to / "settings.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="ascii"))
        other = [key for key in about if known.get(key) != about[key]]
        if other:
            raise ConfigError(
                f"got {to} with clips of another evaluation ({other[0]}: {known.get(other[0])}); expected "
                f"{about[other[0]]}. Use a new folder for --to."
            )
        return
    to.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(about, indent=1) + "\n")


def fill(plan: Plan, to: Path, device: torch.device) -> None:
    """Sample every clip that is not in `to` yet. The networks are loaded only if one is missing.

    Raises ConfigError, FormatError, OSError.
    """
    wanted = [(s, i, path) for s in plan.steps for i, path in enumerate(plan.paths(to, s))]
    missing = [item for item in wanted if not item[2].exists()]
    if not missing:
        return
    schedule = SCHEDULES[plan.schedule] if plan.schedule else None
    pipeline = Pipeline.load(plan.base, schedule, plan.sampler, plan.strength, device, plan.precision)
    for steps in plan.steps:
        plan.sampling(steps).check(pipeline.schedule)
    for done, (steps, number, path) in enumerate(missing, len(wanted) - len(missing) + 1):
        seconds = sample_clip(plan, pipeline, steps, (number, path), device)
        print(f"{done}/{len(wanted)} steps {steps} clip {number} {seconds:.2f} s", flush=True)


def sample_clip(
    plan: Plan, pipeline: Pipeline, steps: int, clip: tuple[int, Path], device: torch.device
) -> float:
    """Sample the clip of a number and write it to its path.

    Returns the seconds of text, sampling and decoding, without the writing.
    """
    (number, path), (height, width) = clip, plan.size
    shape = (1, plan.frames, 4, height // 8, width // 8)
    noise = torch.randn(shape, generator=generator_for(plan.seed, "noise", number)).to(device)
    fresh = generator_for(plan.seed, "fresh noise", number)
    caption = plan.captions[number % len(plan.captions)]
    wait_for(device)
    began = time.perf_counter()
    pixels = pipeline.sample(Conditions([caption]), noise, plan.sampling(steps), fresh)[0]
    wait_for(device)
    seconds = round(time.perf_counter() - began, 4)
    if not torch.isfinite(pixels).all():
        raise FloatingPointError(
            f"got pixels that are not finite in clip {number} at {steps} steps; expected numbers. "
            "Try --precision bf16 or no."
        )
    write_video(path, pixels, {"caption": caption, "seed": [plan.seed, number], "seconds": seconds})
    return seconds


def seconds_per_clip(paths: list[Path]) -> float:
    """Median over clips: the first of a run also loads libraries. Raises DataError for a broken clip."""
    return round(statistics.median(read_about(path)["seconds"] for path in paths), 4)
