"""The gates: what each stage must reach before the next one starts. Numbers go to `out/gates.json`.

judge   reads held-out clips: all three right at least 98 %
vae     held-out clips: at least 31 dB, each reading right in at least 95 % of the reconstructions
image   25 steps with guidance: colour and body of single pictures
motion  25 steps with guidance: colour, body, motion and all three of clips
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import Tensor

from animatelcm_core.atomic import write_text

from ...base import Base
from ...pipeline import Conditions, Pipeline, Sampling
from ...randomness import sample_generator
from ...roles import Parts
from ..world import domains, judge
from ..world.clips import FRAMES, all_labels, captions_of, draw, sample_clips
from ..world.words import tokenize
from . import networks
from .stages.image import IMAGE_SCHEDULE, load_image
from .stages.judge import load_judge
from .stages.motion import MOTION_SCHEDULE, load_motion
from .stages.vae import load_vae

FLOORS = {
    "judge": {"all": 0.98},
    "vae": {"psnr_db": 31.0, "colour": 0.95, "shape": 0.95, "motion": 0.95},
    "image": {"colour": 0.95, "shape": 0.85},
    "motion": {"colour": 0.95, "shape": 0.85, "motion": 0.80, "all": 0.75},
}


def record(out: Path, gate: str, numbers: dict[str, float]) -> None:
    """Write the numbers down, then raise RuntimeError if one is under its floor."""
    path = out / "gates.json"
    known = json.loads(path.read_text(encoding="ascii")) if path.exists() else {}
    known[gate] = {key: round(value, 4) for key, value in numbers.items()}
    write_text(path, json.dumps(known, indent=1) + "\n")
    print(gate, known[gate])
    for key, floor in FLOORS[gate.split("_")[0]].items():
        if numbers[key] < floor:
            raise RuntimeError(
                f"gate {gate}: got {key} {numbers[key]:.3f}; expected at least {floor}. Train this stage "
                "longer before the next one: what it cannot do, nothing after it can."
            )


def shares(right: dict[str, Tensor]) -> dict[str, float]:
    """The share of clips that are right, by name."""
    return {key: float(value.float().mean()) for key, value in right.items()}


def held_out_clips(n: int, seed: int = 10_000) -> tuple[Tensor, Tensor]:
    """Clips that no training step draws, and their labels (n, 3)."""
    clips = sample_clips(n, sample_generator(seed, 0))
    return draw(clips), clips.labels


def gate_judge(out: Path, clips: int = 300) -> None:
    """Gate `judge`: how well it reads clips that it was not trained on."""
    pictures, labels = held_out_clips(clips)
    record(out, "judge", shares(judge.read(pictures, load_judge(out)).right(labels)))


@torch.inference_mode()
def gate_vae(out: Path, clips: int = 100) -> None:
    """Gate `vae`: how well clips survive encoding and decoding."""
    vae = load_vae(out)
    pictures, labels = held_out_clips(clips)
    again = networks.reconstruct_clips(vae, pictures)
    right = shares(judge.read(again, load_judge(out)).right(labels))
    others = {
        f"{key}_db": decibel(networks.reconstruct(vae, x), x)
        for key, domain in (("worn", "degraded"), ("inked", "ink"))
        for x in [domains.pictures(domain, clips, sample_generator(10_001, 0)) / 2 + 0.5]
    }
    record(out, "vae", {"psnr_db": decibel(again, pictures), **right, **others})


def decibel(got: Tensor, wanted: Tensor) -> float:
    """Mean over the first axis of the peak signal to noise ratio, values in 0..1."""
    return float((-10 * (got - wanted).square().flatten(1).mean(1).log10()).mean())


def draw_samples(out: Path, clips: int, guidance: float, seed: int, motion: bool) -> tuple[Tensor, Tensor]:
    """Clips (n, f, 3, 64, 64) and their labels (n, 3); without `motion` single pictures (f = 1)."""
    image, vae = load_image(out), load_vae(out)
    parts, schedule = Parts(), IMAGE_SCHEDULE
    if motion:
        parts, schedule = Parts(motion=load_motion(out)), MOTION_SCHEDULE
    base = Base("shapes", image.unet, vae, image.text, tokenize)
    pipeline, sampling = Pipeline.of(base, schedule, parts), Sampling("ddim", 25, guidance)
    combinations = all_labels()
    labels = torch.tensor([combinations[i % len(combinations)] for i in range(clips)])
    frames = FRAMES if motion else 1
    pictures = []
    for start in range(0, clips, 10):
        part = labels[start : start + 10]
        texts = captions_of(part)
        noise = torch.randn(len(part), frames, 4, 8, 8, generator=sample_generator(seed, start))
        pictures.append(pipeline.sample(Conditions(texts), noise, sampling))
    return torch.cat(pictures), labels


def gate_samples(out: Path, gate: str, clips: int, guidance: float, seed: int = 77) -> Tensor:
    """Gate `image` or `motion`. Returns the pictures, to look at."""
    began = time.monotonic()
    pictures, labels = draw_samples(out, clips, guidance, seed, motion=gate == "motion")
    right = shares(judge.read(pictures, load_judge(out)).right(labels))
    if gate == "image":
        right = {key: right[key] for key in ("colour", "shape")}
    record(
        out, f"{gate}_guidance_{guidance:g}", {**right, "clips": clips, "seconds": time.monotonic() - began}
    )
    return pictures
