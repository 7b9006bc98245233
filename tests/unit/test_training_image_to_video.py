"""Adaptation without a teacher: the pair, who learns, what is exported (paper 4.3, Eq. 11 and 12)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from animatelcm_core.consistency import x0_from_eps
from animatelcm_core.formats import load_motion, read_tensors
from tests.support.small_run import MOTION, config_of, trainer_of, write_lora
from training.config import ConfigError
from training.engine import Trainer
from training.runs import export_run, export_weights, train
from training.stages.image_to_video import ENCODER, ImageToVideoStage
from training.stages.stage import draw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("image_to_video")
    write_lora(out / "lora.safetensors")
    return out


def make(folder: Path, out: Path, **changes: Any) -> tuple[Trainer, ImageToVideoStage]:
    trainer = trainer_of(config_of("image-to-video", folder, out=out, **changes))
    assert isinstance(trainer.stage, ImageToVideoStage)
    return trainer, trainer.stage


def answers(trainer: Trainer, stage: ImageToVideoStage, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The target's and the online network's predicted noise for clips that begin as `latents` do."""
    batch = next(iter(trainer.loader))
    batch = replace(batch, captions=batch.captions[: len(latents)], positions=batch.positions[: len(latents)])
    reference = stage.conditioning(batch, latents)
    t, context = torch.tensor([499]), stage.base.encode_text(["a red fish swimming left"])
    x = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    out = []
    for role in (stage.target(), stage.student()):
        with torch.no_grad(), stage.network.acting(role, 3, reference):
            out.append(stage.eps(x, t, context, stage.network, nullcontext))
    return out[0], out[1]


def clip(seed: int) -> Tensor:
    return torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_both_points_hold_the_same_data_and_noise(folder: Path, tmp_path: Path) -> None:
    _, stage = make(folder, tmp_path / "run", solver={"steps": 10})
    latents = torch.cat([clip(0), clip(1)])
    draws = draw(3, torch.tensor([0, 1]), (3, 4, 4, 4), 10, (2.0, 3.0))
    x, x_next = stage.pair(latents, torch.zeros(2, 1, 1), draws, nullcontext)
    for points, t in ((x, stage.solver.start(draws.n)), (x_next, stage.solver.end(draws.n))):
        found = x0_from_eps(points, draws.noise, stage.alpha_bar[t])
        torch.testing.assert_close(found, latents, rtol=0, atol=1e-3)
    assert not torch.equal(x, x_next)


def test_stills_hold_the_first_frame_at_motion_scale_zero(folder: Path, tmp_path: Path) -> None:
    trainer, stage = make(folder, tmp_path / "run", image_encoder={"static_share": 0.5})
    batch = next(iter(trainer.loader))
    n = 64
    batch = replace(
        batch,
        captions=["a red fish"] * n,
        latents=torch.randn(n, 3, 4, 4, 4),
        context=torch.zeros(n, 77, 8),
        positions=torch.arange(n),
        pixels=None,
    )
    latents, _ = stage.encode_batch(batch)
    scales = stage.conditioning(batch, latents).motion_scale
    assert isinstance(scales, Tensor)
    scales = scales.unflatten(0, (n, 3))
    held = (latents == latents[:, :1]).flatten(1).all(1)
    assert 16 < held.sum() < 48
    torch.testing.assert_close(scales, (0.8 * ~held)[:, None].expand(n, 3))
    part = replace(batch, latents=batch.latents[5:9], positions=batch.positions[5:9], captions=[""] * 4)
    torch.testing.assert_close(stage.encode_batch(part)[0], latents[5:9], rtol=0, atol=0)


def test_target_and_online_network_start_equal_and_the_target_follows(folder: Path, tmp_path: Path) -> None:
    trainer, stage = make(folder, tmp_path / "run", steps=1, mu=0.9)
    target, online = answers(trainer, stage, clip(0))
    torch.testing.assert_close(target, online, rtol=0, atol=3e-6)
    before = {k: p.detach().clone() for k, p in stage.encoder_minus.named_parameters()}
    trainer.run()
    for name, parameter in stage.encoder_minus.named_parameters():
        expected = before[name].lerp(trainer.params[ENCODER + name].detach(), 0.1)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-6)


def test_a_trained_encoder_reads_the_image(folder: Path, tmp_path: Path) -> None:
    """At the start it does not: the image's own part is silent."""
    trainer, stage = make(folder, tmp_path / "run", optim={"lr": 1e-2})
    first, other = (answers(trainer, stage, clip(seed))[1] for seed in (0, 1))
    assert torch.equal(first, other)
    trainer.run()
    first, other = (answers(trainer, stage, clip(seed))[1] for seed in (0, 1))
    assert (first - other).abs().max() > 1e-4


@pytest.mark.parametrize("motion", [False, True])
def test_base_and_lora_stay_and_motion_learns_if_it_should(
    folder: Path, tmp_path: Path, motion: bool
) -> None:
    trainer, stage = make(folder, tmp_path / "run", image_encoder={"motion": motion, "motion_rate": 0.1})
    fixed = {k: p.detach().clone() for k, p in stage.network.unet.named_parameters()}
    moving = {k: p.detach().clone() for k, p in stage.theta.named_parameters()}
    trainer.run()
    assert all(torch.equal(p, fixed[k]) for k, p in stage.network.unet.named_parameters())
    changed = [k for k, p in stage.theta.named_parameters() if not torch.equal(p, moving[k])]
    assert bool(changed) == motion
    rates = {group["factor"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert set(rates) == ({1.0, 0.1} if motion else {1.0})
    if motion:
        assert rates[0.1] == pytest.approx(0.1 * rates[1.0])
        assert stage.theta_minus is not stage.theta


@pytest.mark.parametrize("motion", [False, True])
def test_the_export_has_the_released_layout(folder: Path, tmp_path: Path, motion: bool) -> None:
    changes = {"image_encoder": {"motion": motion}, "ema_decay": 0.5}
    trainer = train(config_of("image-to-video", folder, out=tmp_path / "run", **changes))
    (path,) = (tmp_path / "run" / "export").iterdir()
    file = load_motion(*read_tensors(path), path.name)
    assert (file.kind, file.schedule) == ("animatelcm_i2v", "image to video")
    for name, value in file.image_encoder.items():
        torch.testing.assert_close(value, trainer.average[ENCODER + name].half(), rtol=0, atol=0)
    base = load_file(MOTION)
    same = all(torch.equal(value.half(), base[name].half()) for name, value in file.motion.items())
    assert same != motion


@pytest.mark.parametrize("reading", ["pixels", "first_frame"])
def test_the_other_readings_train_and_are_not_exported(folder: Path, tmp_path: Path, reading: str) -> None:
    config = config_of(
        "image-to-video", folder, out=tmp_path / "run", image_encoder={"reading": reading}, optim={"lr": 1e-2}
    )
    trainer = train(config)
    stage = trainer.stage
    assert isinstance(stage, ImageToVideoStage)
    first, other = (answers(trainer, stage, clip(seed))[1] for seed in (0, 1))
    assert (first - other).abs().max() > 1e-4
    assert not (tmp_path / "run" / "export").exists()
    with pytest.raises(ConfigError, match=f"image_encoder.reading {reading}; expected latents"):
        export_run(tmp_path / "run", tmp_path / "out")
    with pytest.raises(ConfigError, match="for comparison"):
        export_weights(config, trainer.average, trainer.state(), tmp_path / "out")


def test_sample_grids_show_clips_of_the_first_batch(folder: Path, tmp_path: Path) -> None:
    samples = {"prompts": ["one"], "steps": [1], "every": 4, "frames": 3, "size": [32, 32]}
    trainer, _ = make(folder, tmp_path / "run", samples=samples)
    trainer.run()
    assert [p.name for p in (tmp_path / "run" / "samples").iterdir()] == ["step_00000004.gif"]
