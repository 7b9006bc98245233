"""The authors' timesteps and latents, through every way there is to sample in ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from support import ROOT
from support.studio import Studio, relative, watched
from torch import Tensor

GOLDEN = load_file(ROOT / "tests" / "golden" / "lcm_scheduler.safetensors")
TABLES = {"t2v": "text to video", "i2v": "image to video"}
LATENT_SCALE = 0.18215  # the host divides by it on the way out


def recorded_eps(executor: Any, x: Tensor, timesteps: Tensor, *args: Any, **kw: Any) -> Tensor:
    """The noise predictor that the authors' trajectories were recorded with, in the UNet's place."""
    t = timesteps.reshape(-1, 1, 1, 1)
    return 0.9 * torch.tanh(1.3 * x + 0.2) + 0.05 * torch.sin(t / 100)


class Noise:
    """A NOISE input that gives a tensor of the test's own."""

    def __init__(self, noise: Tensor, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return self.noise


def custom(studio: Studio, model: Any, noise: Any, sampler: Any, sigmas: Tensor, frames: int = 16) -> Tensor:
    """SamplerCustomAdvanced at cfg 1."""
    guider = studio.comfy.run("BasicGuider", model=model, conditioning=studio.positive)[0]
    return studio.comfy.run(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=studio.empty(frames),
    )[0]["samples"]


def by_ksampler(studio: Studio, model: Any, steps: int) -> None:
    studio.ksampler(model, frames=1, steps=steps)


def by_our_sampler(studio: Studio, model: Any, steps: int) -> None:
    studio.sample(model, frames=1, steps=steps)


def by_sampler_custom(studio: Studio, model: Any, steps: int) -> None:
    sigmas = studio.comfy.run("AnimateLCM_Scheduler", model=model, steps=steps, denoise=1.0)[0]
    sampler = studio.comfy.run("AnimateLCM_SamplerLCM", s_noise=1.0)[0]
    noise = studio.comfy.run("RandomNoise", noise_seed=1)[0]
    custom(studio, model, noise, sampler, sigmas, frames=1)


@pytest.mark.parametrize("way", [by_ksampler, by_our_sampler, by_sampler_custom])
@pytest.mark.parametrize("table", TABLES)
def test_timesteps(studio: Studio, table: str, way: Callable[[Studio, Any, int], None]) -> None:
    for steps in range(1, 9):
        model, seen = watched(studio.scheduled(schedule=TABLES[table]))
        model.add_wrapper_with_key("diffusion_model", "recorded", recorded_eps)  # the UNet's time is saved
        way(studio, model, steps)
        assert seen == GOLDEN[f"{table}.timesteps.{steps}"].tolist()


@pytest.mark.parametrize("sampler", ["ours", "stock"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("table", TABLES)
def test_trajectory(studio: Studio, table: str, steps: int, sampler: str) -> None:
    def frames(name: str) -> Tensor:
        return rearrange(GOLDEN[f"{table}.{name}"], "1 c f h w -> f c h w")

    noises = iter([frames(f"noise.{steps}.{i}") for i in range(steps - 1)])
    model = studio.scheduled(schedule=TABLES[table]).clone()
    model.add_wrapper_with_key("diffusion_model", "recorded", recorded_eps)
    function = (
        studio.host("sampling.lcm").sample_animatelcm
        if sampler == "ours"
        else studio.comfy.module("comfy.k_diffusion.sampling").sample_lcm
    )
    wrapped = studio.comfy.module("comfy.samplers").KSAMPLER(
        function, {"noise_sampler": lambda sigma, sigma_next: next(noises)}
    )
    sigmas = studio.comfy.run("AnimateLCM_Scheduler", model=model, steps=steps, denoise=1.0)[0]
    got = custom(studio, model, Noise(frames(f"x_T.{steps}")), wrapped, sigmas) * LATENT_SCALE
    assert relative(got, frames(f"latents.{steps}")) < 1e-5
    assert next(noises, None) is None  # all of it was used


@pytest.mark.parametrize("name", ["text to video", "image to video", "soft", "animatediff"])
def test_tables_map_back_to_their_timesteps(studio: Studio, name: str) -> None:
    schedule = studio.schedules[name]
    sampling = studio.host("sampling.model_sampling").ScheduleSampling(schedule)
    known = schedule.known_timesteps()
    assert torch.equal(sampling.timestep(sampling.sigmas), known)
    assert torch.allclose(sampling.sigma(known), sampling.sigmas, rtol=1e-6, atol=0)
    assert torch.equal(sampling.timestep(sampling.sigma(known)), known)
    assert float(sampling.sigma_max) == pytest.approx(float(schedule.sigmas()[-1]), rel=1e-6)
    assert sampling.percent_to_sigma(0.0) > 1e8
    assert sampling.percent_to_sigma(1.0) == 0.0


def test_undistilled_schedule_is_plain_noise_prediction(studio: Studio) -> None:
    sampling = studio.host("sampling.model_sampling").ScheduleSampling(studio.schedules["animatediff"])
    x, eps = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(1)).unbind()
    for sigma in (torch.full((3,), 0.03), torch.full((3,), 20.0), torch.tensor([0.5])):
        expected = x - eps * sigma[0]
        assert torch.equal(sampling.calculate_denoised(sigma, eps, x), expected)


def test_boundary_at_the_least_noise(studio: Studio) -> None:
    """At t = 4 the consistency function leans on its input by 0.00016: c_skip acts on unit-variance x."""
    schedule = studio.schedules["image to video"]
    sampling = studio.host("sampling.model_sampling").ScheduleSampling(schedule)
    consistency = studio.host("...consistency")
    alpha_bar = schedule.alpha_bar()[4]
    x, eps = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(1)).unbind()
    sigma = sampling.sigmas[:1]
    got = sampling.calculate_denoised(sigma, eps, x)
    unit = x / (sigma**2 + 1).sqrt()
    x0 = consistency.x0_from_eps(unit, eps, alpha_bar)
    expected = consistency.consistency_function(unit, x0, torch.tensor(4))
    assert relative(got, expected) < 1e-6
    assert relative(got, x0) > 1e-5  # so the test can tell


def test_custom_numbers(studio: Studio) -> None:
    model = studio.comfy.run(
        "AnimateLCM_ModelSampling",
        model=studio.model,
        schedule="text to video",
        beta_end=0.016,
        original_steps=50,
    )[0]
    model, seen = watched(model)
    studio.ksampler(model, frames=1, steps=4)
    assert seen == [999, 759, 499, 259]
    betas = torch.linspace(0.00085, 0.016, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).prod()
    sigma = model.get_model_object("model_sampling").sigma_max
    assert float(sigma) == pytest.approx(float(((1 - alpha_bar) / alpha_bar).sqrt()), rel=1e-5)


def test_denoise_is_the_authors_strength(studio: Studio) -> None:
    model, seen = watched(studio.scheduled())
    studio.sample(model, frames=1, steps=4, denoise=0.7)
    assert seen == [699, 529, 349, 179]
    seen.clear()
    latent = {"samples": torch.randn(2, 4, 8, 8)}
    assert torch.equal(studio.sample(model, steps=4, denoise=0.0, latent=latent), latent["samples"])
    assert seen == []


def test_the_last_schedule_counts(studio: Studio) -> None:
    model = studio.scheduled(studio.scheduled(schedule="text to video"), "image to video")
    assert studio.host("sampling.model_sampling").schedule_of(model) == studio.schedules["image to video"]
    kept = studio.comfy.run(
        "AnimateLCM_ApplyMotionModel",
        model=model,
        motion=studio.motion,
        schedule="keep",
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )[0]
    assert studio.host("sampling.model_sampling").schedule_of(kept) == studio.schedules["image to video"]


def test_restored_buffers_do_not_reach_the_table(studio: Studio) -> None:
    """The host's on-demand patcher writes buffers back by path, into whatever object is there by then."""
    sampling = studio.host("sampling.model_sampling").ScheduleSampling(studio.schedules["text to video"])
    base = studio.comfy.module("comfy.model_sampling").ModelSamplingDiscrete()
    assert dict(sampling.named_buffers()) == {}
    buffers = dict(base.named_buffers())
    assert len(buffers["sigmas"]) == len(buffers["log_sigmas"]) == 1000
    for name, value in buffers.items():
        sampling.register_buffer(name, value)
    assert len(sampling.sigmas) == len(sampling.log_sigmas) == 100
