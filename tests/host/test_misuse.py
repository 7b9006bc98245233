"""Mistakes that users make are told in plain words: got / expected / do this."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from support import small_files
from support.studio import Studio

LORA = Path(small_files.LORA).name
MOTION = Path(small_files.MOTION).name
CHECKPOINT = Path(small_files.CHECKPOINT).name


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings of the pack so far."""
    return [
        r.getMessage()
        for r in caplog.records
        if r.levelno == logging.WARNING and "AnimateLCM: " in r.getMessage()
    ]


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def apply(studio: Studio, model: Any, **other: Any) -> Any:
    given = {"schedule": "auto", "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | other
    return studio.comfy.run("AnimateLCM_ApplyMotionModel", model=model, motion=studio.motion, **given)[0]


def load(studio: Studio, **other: Any) -> Any:
    given = {
        "ckpt_name": CHECKPOINT,
        "motion_model": MOTION,
        "lcm_lora": LORA,
        "lora_strength": 0.8,
        "schedule": "auto",
    } | other
    return studio.comfy.run("AnimateLCM_LoadCheckpoint", **given)


def link(studio: Studio, source: str, folder: str, name: str) -> str:
    """A file in another folder too, as a user who mixed them up has it."""
    target = studio.models / folder / name
    if not target.exists():
        target.write_bytes((studio.models / source).read_bytes())
    return name


def test_good_settings_say_nothing(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    studio.sample(studio.video(), 8, cfg=1.5)
    studio.ksampler(studio.video(), 8, cfg=2.0)
    studio.ksampler(studio.video(), 8, cfg=2.0, steps=4, denoise=0.6)
    studio.ksampler(
        studio.video(schedule="animatediff"), 8, steps=3, cfg=7.0, sampler_name="euler", scheduler="normal"
    )
    studio.image()
    load(studio)
    assert said(caplog) == []


def test_the_other_lora_is_named(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    other = link(studio, small_files.LORA, "loras", "AnimateLCM_sd15_t2v_lora.safetensors")
    load(studio, lcm_lora=other)
    assert said(caplog) == []
    load(studio, lcm_lora=other, motion_model=Path(small_files.IMAGE_MOTION).name)
    (line,) = said(caplog)
    assert (
        f"got {other}, the LCM LoRA for text to video, with small_i2v.safetensors, a motion model for image"
        in line
    )


def test_short_clips_are_warned_of(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    studio.ksampler(studio.video(), 5, steps=1)
    (line,) = said(caplog)
    assert "got 5 frames; expected 8 or more" in line
    assert "16" in line
    caplog.clear()
    studio.ksampler(studio.scheduled(), 5, steps=1)  # five images, no clip
    assert said(caplog) == []


def test_short_empty_latents_are_warned_of(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    studio.comfy.run("AnimateLCM_EmptyVideoLatent", width=64, height=64, frames=7)
    assert "got 7 frames" in said(caplog)[0]


@pytest.mark.parametrize("way", ["sample", "ksampler"])
def test_long_clips_are_refused_before_loading(studio: Studio, way: str) -> None:
    with pytest.raises(
        ValueError, match="got 65 frames; expected at most 64.*Use fewer frames.*AnimateLCM Long Video"
    ):
        getattr(studio, way)(studio.video(), 65, steps=1)


def test_a_files_own_positions_limit_it(studio: Studio) -> None:
    with torch.inference_mode():
        model = studio.host("patches.motion").with_motion(studio.scheduled(), studio.other_motion)
    with pytest.raises(ValueError, match="got 33 frames; expected at most 32"):
        studio.ksampler(model, 33, steps=1)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_other_samplers_are_warned_of(studio: Studio, caplog: pytest.LogCaptureFixture, sampler: str) -> None:
    studio.ksampler(studio.video(), 8, sampler_name=sampler)
    assert f"got the sampler {sampler}; expected lcm" in said(caplog)[0]


@pytest.mark.parametrize("scheduler", ["normal", "karras", "sgm_uniform"])
def test_other_schedulers_are_warned_of(
    studio: Studio, caplog: pytest.LogCaptureFixture, scheduler: str
) -> None:
    studio.ksampler(studio.video(), 8, steps=4, scheduler=scheduler)
    (line,) = said(caplog)
    assert "expected the scheduler simple" in line


def test_high_cfg_is_warned_of(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    studio.ksampler(studio.video(), 8, cfg=7.5, steps=1)
    assert "got cfg 7.5; expected 1 to 2" in said(caplog)[0]
    caplog.clear()
    studio.sample(studio.video(), 8, cfg=7.5, steps=1)
    assert len(said(caplog)) == 1


def test_another_schedule_behind_ours_is_left_alone(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    (model,) = studio.comfy.run("ModelSamplingDiscrete", model=studio.video(), sampling="eps", zsnr=False)
    studio.ksampler(model, 8, cfg=7.5, sampler_name="euler", scheduler="normal")
    assert said(caplog) == []


def test_sample_refuses_undistilled_models(studio: Studio) -> None:
    with pytest.raises(ValueError, match="not distilled.*KSampler with 20 or more steps"):
        studio.sample(studio.video(schedule="animatediff"))
    with pytest.raises(ValueError, match="without a schedule of this pack.*Apply Motion Model"):
        studio.sample(studio.model)
    with pytest.raises(ValueError, match="without a schedule of this pack"):
        studio.comfy.run("AnimateLCM_Scheduler", model=studio.model, steps=4, denoise=1.0)


def test_too_many_steps_for_the_strength(studio: Studio) -> None:
    with pytest.raises(ValueError, match="got 20 steps at strength 0.1; expected 1 to 10"):
        studio.comfy.run("AnimateLCM_Scheduler", model=studio.scheduled(), steps=20, denoise=0.1)


def test_latents_of_other_models(studio: Studio) -> None:
    with pytest.raises(ValueError, match="got a latent of another kind of model"):
        studio.sample(studio.video(), latent={"samples": torch.zeros(1, 4, 5, 8, 8)})


def other_base(studio: Studio, family: str, **config: Any) -> Any:
    """A MODEL of another family at small size, without weights."""
    comfy = studio.comfy
    configs = comfy.module("comfy.supported_models")
    unet = {**studio.model.model.model_config.unet_config, "dtype": torch.float32} | config
    family_config = getattr(configs, family)(unet)
    family_config.unet_config = unet
    base = comfy.module("comfy.model_base").BaseModel(family_config, model_type=family_config.model_type({}))
    device = torch.device("cpu")
    return comfy.module("comfy.model_patcher").ModelPatcher(base, load_device=device, offload_device=device)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("SDXL", {"use_linear_in_transformer": True, "adm_in_channels": 64, "num_classes": "sequential"}),
        ("SD20", {"use_linear_in_transformer": True}),
    ],
)
def test_other_bases_are_refused(studio: Studio, family: str, config: dict[str, Any]) -> None:
    base = other_base(studio, family, **config)
    with pytest.raises(ValueError, match=f"got a {family} model; expected Stable Diffusion 1.5"):
        apply(studio, base)
    with pytest.raises(ValueError, match=f"got a {family} model"):
        studio.scheduled(base)


def test_models_that_predict_something_else_are_refused(studio: Studio) -> None:
    for kind in ("v_prediction", "x0"):
        (model,) = studio.comfy.run("ModelSamplingDiscrete", model=studio.model, sampling=kind, zsnr=False)
        with pytest.raises(ValueError, match="does not predict noise"):
            studio.scheduled(model)


def test_a_motion_model_of_another_size(studio: Studio) -> None:
    wide = other_base(studio, "SD15", model_channels=64, num_heads=8)
    with pytest.raises(ValueError, match="32 channels at down_blocks.0.motion_modules.0; expected 64"):
        apply(studio, wide)
    short = other_base(
        studio,
        "SD15",
        channel_mult=[1, 2],
        num_res_blocks=[2, 2],
        transformer_depth=[1] * 4,
        transformer_depth_output=[1] * 6,
    )
    with pytest.raises(ValueError, match="motion model with 21 temporal modules; expected 11"):
        apply(studio, short)


def test_a_schedule_that_is_none(studio: Studio) -> None:
    with pytest.raises(ValueError, match="got the schedule 'lcm'; expected one of auto, text to video"):
        apply(studio, studio.model, schedule="lcm")
    with pytest.raises(ValueError, match="got the schedule 'keep'"):
        studio.comfy.run(
            "AnimateLCM_ModelSampling", model=studio.model, schedule="keep", beta_end=0.0, original_steps=0
        )


def test_percentages_the_wrong_way(studio: Studio) -> None:
    with pytest.raises(ValueError, match="got start_percent 0.8 after end_percent 0.2"):
        apply(studio, studio.model, start_percent=0.8, end_percent=0.2)


def test_a_lora_in_the_motion_box(studio: Studio) -> None:
    name = link(studio, small_files.LORA, "animatediff_models", "lora_here.safetensors")
    with pytest.raises(ValueError, match="got a LoRA.*expected a motion model.*models/loras"):
        studio.comfy.run("AnimateLCM_LoadMotionModel", motion_model=name)


def test_a_motion_model_in_the_lora_box(studio: Studio) -> None:
    name = link(studio, small_files.MOTION, "loras", "motion_here.safetensors")
    with pytest.raises(ValueError, match="motion model.*expected a LoRA"):
        load(studio, lcm_lora=name)


def test_a_lora_in_the_checkpoint_box(studio: Studio) -> None:
    name = link(studio, small_files.LORA, "checkpoints", "lora_here.safetensors")
    with pytest.raises(ValueError, match="got a LoRA.*expected a checkpoint"):
        load(studio, ckpt_name=name)


def test_a_lora_that_fits_nothing(studio: Studio) -> None:
    from safetensors.torch import save_file

    name = "lora_unet_of_another_world"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 4), f"{name}.lora_up.weight": torch.ones(4, 2)}
    save_file(tensors, studio.models / "loras" / "stranger.safetensors")
    with pytest.raises(ValueError, match="got stranger.safetensors, a LoRA that fits no layer"):
        load(studio, lcm_lora="stranger.safetensors")


def test_a_style_lora_in_the_lcm_box(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(studio.path(small_files.LORA))
    style = {key: value for key, value in whole.items() if "_attn" in key}
    save_file(style, studio.models / "loras" / "style.safetensors")
    load(studio, lcm_lora="style.safetensors")
    assert "got style.safetensors, a LoRA for attention only" in said(caplog)[0]


@pytest.mark.parametrize("size", [100, 500])
def test_sizes_that_are_no_multiple_of_8(studio: Studio, size: int) -> None:
    with pytest.raises(ValueError, match=f"got width {size}; expected a multiple of 8"):
        studio.comfy.run("AnimateLCM_EmptyVideoLatent", width=size, height=64, frames=16)


def test_numbers_that_make_no_schedule(studio: Studio) -> None:
    for beta_end, steps, what in ((0.0005, 0, "beta_end 0.0005"), (0.0, 300, "original_steps 300")):
        with pytest.raises(ValueError, match=f"got {what}"):
            studio.comfy.run(
                "AnimateLCM_ModelSampling",
                model=studio.model,
                schedule="soft",
                beta_end=beta_end,
                original_steps=steps,
            )


def test_a_missing_demo_file_is_told(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = studio.comfy.pack("nodes.demo")
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="got no file shapes_sd.safetensors.*Install the pack again"):
        studio.comfy.run("AnimateLCM_LoadDemo", mode="text to video")
