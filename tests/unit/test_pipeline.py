"""A model that samples clips: what it refuses, what it is shown with, and that parts and files agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from animatelcm_core.formats import build_motion_model
from animatelcm_core.schedule import SCHEDULES
from tests.support.small_run import CHECKPOINT, DEMO
from training.base import load_motion_file
from training.config import BaseConfig, ConfigError
from training.pipeline import Conditions, Pipeline, Sampler, Sampling, load_merged
from training.roles import Parts
from training.samplers import Spacing, ddim, dpm, lcm

TEACHER, STUDENT = SCHEDULES["animatediff"], SCHEDULES["text to video"]
NOISE = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
CAPTIONS = ["a red fish swimming left", "a blue crab sleeping"]


def half(x: Tensor, _t: int, _context: Tensor) -> Tensor:
    return 0.5 * x


def encode(captions: list[str]) -> Tensor:
    return torch.zeros(len(captions), 1, 1)


def refused_by_sampling(sampling: Sampling, schedule: Any) -> bool:
    samplers: dict[str, Any] = {"ddim": ddim, "dpm++": dpm}
    more = () if sampling.sampler == "lcm" else (sampling.spacing,)
    if sampling.sampler == "lcm" and sampling.spacing != "simple":
        return True
    try:
        samplers.get(sampling.sampler, lcm)(
            half, NOISE[:1, :1], encode([""]), schedule, sampling.steps, *more
        )
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("schedule", [TEACHER, STUDENT])
def test_the_check_refuses_what_the_samplers_refuse(schedule: Any) -> None:
    for sampler, spacing, steps in product(get_args(Sampler), get_args(Spacing), (1, 4, 101)):
        sampling = Sampling(sampler, steps, 1.0, spacing)
        if refused_by_sampling(sampling, schedule):
            with pytest.raises(ConfigError, match="expected"):
                sampling.check(schedule)
        else:
            sampling.check(schedule)


def test_a_pipeline_checks_before_it_encodes_a_caption() -> None:
    seen: list[list[str]] = []
    pipeline = Pipeline(half, STUDENT, lambda texts: (seen.append(texts), encode(texts))[1], lambda x: x)
    with pytest.raises(ConfigError, match="distilled"):
        pipeline.sample(Conditions(CAPTIONS), NOISE, Sampling("ddim", 4, 1.0, "trailing"))
    assert not seen
    pipeline.sample(Conditions(CAPTIONS), NOISE, Sampling("lcm", 1))
    assert seen == [CAPTIONS]  # without guidance the empty caption is not asked for


def test_the_condition_is_there_while_noise_is_predicted_and_not_after() -> None:
    state: list[Any] = []

    @contextmanager
    def conditioned(conditioning: Any, frames: int) -> Iterator[None]:
        state.append((conditioning, frames))
        yield
        state.clear()

    def eps(x: Tensor, t: int, context: Tensor) -> Tensor:
        assert state == [("hints", 3)]
        return half(x, t, context)

    pipeline = Pipeline(eps, STUDENT, encode, lambda x: x, conditioned)
    pipeline.sample(Conditions(CAPTIONS, "hints"), NOISE, Sampling("lcm", 2, 2.0))  # type: ignore[arg-type]
    assert not state


def test_files_and_parts_give_the_same_clips() -> None:
    motion, lora = (DEMO / f"shapes_lcm_{name}.safetensors" for name in ("motion", "lora"))
    config = BaseConfig(variant="shapes", checkpoint=CHECKPOINT, motion=motion, lora=lora)
    model = build_motion_model(load_motion_file(motion, "shapes"), nn, torch.float32)
    made = Pipeline.of(load_merged(config), STUDENT, Parts(motion=model))
    latents = [
        pipeline.denoise(Conditions(CAPTIONS), NOISE, Sampling("lcm", 1), torch.Generator().manual_seed(2))
        for pipeline in (Pipeline.load(config), made)
    ]
    assert torch.equal(*latents)
    assert made.decode(latents[0]).shape == (2, 3, 3, 64, 64)
