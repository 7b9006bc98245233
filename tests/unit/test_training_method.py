"""The method, pinned on the small world's shipped weights: roles, targets, gradients (paper 4.1, Fig. 3)."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from animatelcm_core.consistency import x0_from_eps
from tests.support.small_run import CHECKPOINT, config_of, trainer_of
from training.base import load_base
from training.config import BaseConfig
from training.export import kohya_tensors, save_lora
from training.lora import LCM_TARGETS, Lora, load_lora
from training.lora_file import merge_lora
from training.roles import Role
from training.stages.distil import Distillation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a LoRA that changes something: both factors random."""
    out = tmp_path_factory.mktemp("method")
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    lora = Lora(base.unet, 4, 4)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in lora.parameters().items():
            scale = 0.2 if name.endswith("lora_B") else 0.3
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) * scale / parameter[0].numel() ** 0.5
            )
    save_lora(out / "lora.safetensors", kohya_tensors(lora.parameters(), 4), {})
    return out


def video(folder: Path, tmp_path: Path, **changes: Any):
    return trainer_of(config_of("video", folder, out=tmp_path / "run", **changes))


def clip(seed: int = 0, frames: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, frames, 4, 4, 4, generator=generator), torch.tensor([499])


def eps_of(stage: Distillation, role: Role) -> Tensor:
    x, t = clip()
    with torch.no_grad(), stage.network.acting(role, x.shape[1]):
        return stage.eps(
            x, t, stage.base.encode_text(["a red fish swimming left"]), stage.network, nullcontext
        )


def test_at_step_zero_the_target_is_the_teacher_and_the_online_network_is_not(folder: Path, tmp_path: Path):
    stage = video(folder, tmp_path).stage
    teacher, target, student = (
        eps_of(stage, role) for role in (stage.teacher(), stage.target(), stage.student())
    )
    assert torch.equal(target, teacher)
    assert (student - teacher).abs().max() > 1e-2


def test_the_online_network_is_base_plus_lora_plus_motion(folder: Path, tmp_path: Path):
    """Against the same UNet with the LoRA merged into its weights."""
    stage = video(folder, tmp_path).stage
    expected = eps_of(stage, stage.student())
    merged = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    assert merge_lora(merged.unet, load_file(folder / "lora.safetensors")) == len(stage.lora.layers)
    stage.network = copy.copy(stage.network)
    stage.network.lora = None
    stage.network._modules = {**stage.network._modules, "unet": merged.unet}
    torch.testing.assert_close(eps_of(stage, Role(stage.theta)), expected, rtol=0, atol=2e-5)


def test_without_init_the_target_is_the_online_network(folder: Path, tmp_path: Path):
    stage = video(folder, tmp_path, arm="without_init").stage
    # Weights that require a gradient take another path through PyTorch, equal to rounding only.
    torch.testing.assert_close(
        eps_of(stage, stage.target()), eps_of(stage, stage.student()), rtol=0, atol=3e-6
    )


def test_without_decouple_starts_from_the_teacher_and_trains_the_lora(folder: Path, tmp_path: Path):
    trainer = video(folder, tmp_path, arm="without_decouple", base={"lora": None})
    stage = trainer.stage
    torch.testing.assert_close(
        eps_of(stage, stage.student()), eps_of(stage, stage.teacher()), rtol=0, atol=3e-6
    )
    trainer.run()
    lora = [p for name, p in trainer.params.items() if name.endswith("lora_B")]
    assert lora
    assert all(float(p.detach().abs().max()) > 0 for p in lora)
    assert not torch.equal(eps_of(stage, stage.target()), eps_of(stage, stage.teacher()))
    assert not torch.equal(eps_of(stage, stage.target()), eps_of(stage, stage.student()))


def test_temporal_init_zero_starts_from_single_pictures(folder: Path, tmp_path: Path):
    stage = video(folder, tmp_path, temporal_init="zero").stage
    torch.testing.assert_close(
        eps_of(stage, stage.student()), eps_of(stage, Role(None, 1.0)), rtol=0, atol=3e-6
    )


def test_with_lr_zero_the_lora_grows_as_the_moving_average_of_merged_weights(folder: Path, tmp_path: Path):
    mu = 0.8
    trainer = video(folder, tmp_path, mu=mu, optim={"lr": 0.0, "weight_decay": 0.0}, steps=5)
    stage = trainer.stage
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT)).unet
    merged = copy.deepcopy(base)
    merge_lora(merged, load_file(folder / "lora.safetensors"))
    average = copy.deepcopy(base)  # the target starts without the LoRA
    trainer.run()
    with torch.no_grad():
        for _ in range(5):
            for a, b in zip(average.parameters(), merged.parameters(), strict=True):
                a.lerp_(b, 1 - mu)
    assert stage.rho == pytest.approx(1 - mu**5, abs=1e-12)
    grown = eps_of(stage, stage.target())
    network, lora = stage.network, stage.network.lora
    network.unet, network.lora = average, None
    explicit = eps_of(stage, Role(stage.theta_minus))
    network.lora = lora
    torch.testing.assert_close(grown, explicit, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("stage", "arm", "trained"),
    [
        ("image", None, lambda name: "lora_" in name),
        ("video", "paper", lambda name: name.startswith("motion.")),
        ("video", "without_init", lambda name: name.startswith("motion.")),
        ("video", "without_decouple", lambda name: name.startswith("motion.") or ".online." in name),
        ("image-to-video", None, lambda name: name.startswith("encoder.")),
    ],
)
def test_gradients_reach_the_declared_parameters_only(folder: Path, tmp_path: Path, stage, arm, trained):
    changes = {"arm": arm} if arm else {}
    trainer = trainer_of(config_of(stage, folder, out=tmp_path / "run", **changes))
    # A LoRA whose second factor is zero gives its first no gradient yet.
    with torch.no_grad():
        for name, parameter in trainer.params.items():
            if name.endswith("lora_B"):
                parameter.add_(0.01)
    batch = next(iter(trainer.loader))
    trainer.stage.step(batch, lambda loss: loss.backward(), nullcontext)
    declared = {id(p) for p in trainer.params.values()}
    for name, parameter in trainer.stage.network.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in declared), name
        assert parameter.requires_grad == (id(parameter) in declared), name
        if parameter.grad is not None:
            assert trained(name), name
            assert float(parameter.grad.abs().max()) > 0, name


def test_all_frames_of_a_clip_share_their_timestep_and_differ_between_clips(folder: Path, tmp_path: Path):
    trainer = video(folder, tmp_path, batch={"size": 4})
    seen: list[Tensor] = []
    handle = trainer.stage.base.unet.time_proj.register_forward_pre_hook(lambda _m, a: seen.append(a[0]))
    trainer.stage.step(next(iter(trainer.loader)), lambda loss: None, nullcontext)
    handle.remove()
    teacher, target, student = (t.reshape(-1, 3) for t in seen)
    for clips in (teacher, target, student):
        assert bool((clips == clips[:, :1]).all())
    assert torch.equal(teacher[:4], teacher[4:])
    assert torch.equal(target[:, 0], (student[:, 0] - 20).clamp_min(0))
    assert len(set(student[:, 0].tolist())) > 1


def test_checkpointing_covers_every_kind_of_layer_and_changes_no_bit(folder: Path, tmp_path: Path):
    gradients, kinds = [], []
    for on in (False, True):
        trainer = video(folder, tmp_path / str(on), gradient_checkpointing=on)
        count: dict[str, int] = {}

        def counted(name: str, module: nn.Module, count: dict[str, int] = count) -> None:
            module.register_forward_hook(lambda *_: count.__setitem__(name, count.get(name, 0) + 1))

        unet, theta = trainer.stage.base.unet, trainer.stage.theta
        counted("resnet", unet.get_submodule("up_blocks.0.resnets.0.conv1"))
        counted("attention", unet.get_submodule("up_blocks.0.attentions.0.transformer_blocks.0.attn1"))
        counted("motion", theta.get_submodule("up_blocks.0.motion_modules.0.temporal_transformer.proj_in"))
        trainer.stage.step(next(iter(trainer.loader)), lambda loss: loss.backward(), nullcontext)
        gradients.append({name: p.grad.clone() for name, p in trainer.params.items() if p.grad is not None})
        kinds.append(count)
    assert {k: kinds[1][k] - kinds[0][k] for k in kinds[0]} == {"resnet": 1, "attention": 1, "motion": 1}
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


def test_the_image_target_is_the_online_network_without_gradients(folder: Path, tmp_path: Path):
    trainer = trainer_of(config_of("image", folder, out=tmp_path / "run"))
    stage = trainer.stage
    assert stage.target() == stage.student() == Role(lora=1.0)
    # The LoRA's second factor is zero yet.
    torch.testing.assert_close(
        eps_of(stage, stage.teacher()), eps_of(stage, stage.student()), rtol=0, atol=3e-6
    )


def test_the_image_target_follows_when_mu_is_given(folder: Path, tmp_path: Path):
    trainer = trainer_of(config_of("image", folder, out=tmp_path / "run", mu=0.9))
    stage = trainer.stage
    before = {k: p.detach().clone() for k, p in stage.lora.parameters("target").items()}
    assert all(torch.equal(p, before[k]) for k, p in stage.lora.parameters("online").items())
    trainer.config = trainer.config.model_copy(update={"steps": 1})
    trainer.run()
    for name, parameter in stage.lora.parameters("target").items():
        expected = before[name].lerp(trainer.params[name].detach(), 0.1)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-7)


def test_lora_switching_leaves_flags_scales_and_outputs_as_they_were(folder: Path):
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    lora = load_lora(base.unet, folder / "lora.safetensors")
    trainable = lora.trainable()
    scales = {name: dict(layer.scaling) for name, layer in lora.layers.items()}
    with pytest.raises(RuntimeError, match="on purpose"), lora.at(0.3):
        raise RuntimeError("on purpose")
    with lora.at(0.0):
        pass
    assert {name: dict(layer.scaling) for name, layer in lora.layers.items()} == scales
    assert all(p.requires_grad for p in trainable.values())
    frozen = [p for p in base.unet.parameters() if id(p) not in {id(q) for q in trainable.values()}]
    assert not any(p.requires_grad for p in frozen)


def test_every_kind_of_layer_that_an_lcm_lora_changes_has_one(folder: Path):
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    lora = Lora(base.unet, 2, 2)
    for target in LCM_TARGETS:
        assert any(name.endswith(target) for name in lora.layers), target
    kept = [
        n for n, m in base.unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "lora" not in n
    ]
    left_out = {n for n in kept if ".base_layer" not in n}
    assert left_out == {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}


def test_a_saved_lora_loads_again_and_says_what_is_wrong_with_others(folder: Path, tmp_path: Path):
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    lora = load_lora(base.unet, folder / "lora.safetensors")
    assert (lora.rank, lora.alpha) == (4, 4)
    saved = load_file(folder / "lora.safetensors")
    for key, value in kohya_tensors(lora.parameters(), 4).items():
        torch.testing.assert_close(value.half(), saved[key], rtol=0, atol=0)
    stem = next(iter(saved)).partition(".")[0]
    missing = {k: v for k, v in saved.items() if not k.startswith(stem + ".")}
    save_file(missing, tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match=f"without {stem}; expected all"):
        load_lora(
            load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT)).unet,
            tmp_path / "missing.safetensors",
        )


def test_the_consistency_function_of_a_perfect_network_is_constant_along_its_trajectory(folder: Path):
    """f at both ends of a step with the true noise is the data: what the loss asks for can be reached."""
    x0, noise = torch.randn(2, 1, 3, 4, 4, 4, dtype=torch.float64)
    stage_alpha = config_of("video", folder).solver.build().schedule.alpha_bar()
    for t in (19, 499, 999):
        a = stage_alpha[t]
        x = a.sqrt() * x0 + (1 - a).sqrt() * noise
        torch.testing.assert_close(x0_from_eps(x, noise, a), x0, rtol=0, atol=1e-9)
