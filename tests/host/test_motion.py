"""What a motion model does to a run, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from support import ROOT
from support.studio import Studio, hooks_on, relative
from torch import Tensor

GOLDEN = load_file(ROOT / "tests" / "golden" / "motion_module.safetensors")


@pytest.fixture(scope="module")
def still(studio: Studio) -> Tensor:
    """A run without motion on the same schedule and noise."""
    return studio.sample(studio.scheduled(), cfg=1.5)


@pytest.fixture(scope="module")
def moving(studio: Studio) -> Tensor:
    return studio.sample(studio.video(), cfg=1.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("output", ["output", "output_5_frames"])
def test_authors_module_through_the_hosts_layers(studio: Studio, output: str, dtype: torch.dtype) -> None:
    """Weights in 16 bits follow the 32-bit input; only their own rounding is lost."""
    ops = studio.comfy.module("comfy.ops").manual_cast
    module = studio.host("...motion_module").TemporalModule(64, 8, ops)
    module.load_state_dict({k[len("weights.") :]: v for k, v in GOLDEN.items() if k.startswith("weights.")})
    module.to(dtype)
    expected = GOLDEN[output]
    frames = expected.shape[2]
    x = rearrange(GOLDEN["input"][:, :, :frames], "b c f h w -> (b f) c h w")
    with torch.inference_mode():
        got = rearrange(module(x, frames), "(b f) c h w -> b c f h w", f=frames)
    assert got.dtype == torch.float32
    assert relative(got, expected) < (1e-5 if dtype == torch.float32 else 1e-3)


def test_it_moves(still: Tensor, moving: Tensor) -> None:
    assert moving.shape == still.shape == (8, 4, 8, 8)
    assert moving.isfinite().all()
    assert relative(moving, still) > 0.1


def test_zero_strength_is_no_motion(studio: Studio, still: Tensor) -> None:
    model = studio.video(strength=0.0)
    assert torch.equal(studio.sample(model, cfg=1.5), still)
    assert model.get_additional_models() == []
    assert not studio.host("patches.motion").has_motion(model)


def test_strength_goes_between(studio: Studio, still: Tensor, moving: Tensor) -> None:
    half = studio.sample(studio.video(strength=0.5), cfg=1.5)
    little = studio.sample(studio.video(strength=0.01), cfg=1.5)
    assert 0.02 < relative(half, still) < relative(moving, still)
    assert relative(little, still) < 0.02
    assert relative(half, moving) > 0.02


def test_one_and_two_conditions_at_once_are_equal(studio: Studio, moving: Tensor) -> None:
    """Conditions in one batch, then one after the other, as the host does when memory is short."""
    model = studio.video()
    batches: list[int] = []

    def watch(executor: Any, x: Tensor, *args: Any, **kw: Any) -> Tensor:
        batches.append(x.shape[0])
        return executor(x, *args, **kw)

    model.add_wrapper_with_key("diffusion_model", "watch", watch)
    assert torch.equal(studio.sample(model, cfg=1.5), moving)
    assert batches == [16, 16]
    batches.clear()
    base = model.model
    base.memory_required = lambda *args, **kw: 1e20  # so that nothing fits beside anything
    try:
        apart = studio.sample(model, cfg=1.5)
    finally:
        del base.memory_required
    assert batches == [8, 8, 8, 8]
    assert relative(apart, moving) < 1e-5


@pytest.mark.parametrize("frames", [5, 16, 33])
def test_lengths(studio: Studio, frames: int) -> None:
    got = studio.sample(studio.video(), frames)
    still = studio.sample(studio.scheduled(), frames)
    assert got.shape == (frames, 4, 8, 8)
    assert relative(got, still) > 0.1


def test_frames_know_each_other(studio: Studio) -> None:
    """Noise on one frame changes the others' result with motion, and not without."""
    latent = studio.empty(8)
    noisy = {"samples": latent["samples"].clone()}
    noisy["samples"][3] = 5 * torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(3))
    others = [i for i in range(8) if i != 3]
    for model, related in ((studio.video(), True), (studio.scheduled(), False)):
        a, b = (studio.sample(model, denoise=0.5, latent=start)[others] for start in (latent, noisy))
        assert (relative(a, b) > 1e-3) == related


def test_percent_range(studio: Studio, still: Tensor, moving: Tensor) -> None:
    """Two steps, at 999 and 499: about 0 and 0.5 of the way."""
    part = studio.host("patches.evaluation").Range
    early = studio.sample(studio.video(active=part(end=0.3)), cfg=1.5)
    late = studio.sample(studio.video(active=part(start=0.3)), cfg=1.5)
    never = studio.sample(studio.video(active=part(start=0.6)), cfg=1.5)
    assert torch.equal(never, still)
    for got in (early, late):
        assert relative(got, still) > 1e-3
        assert relative(got, moving) > 1e-3
    assert not torch.equal(early, late)


def test_applied_again_replaces(studio: Studio, moving: Tensor) -> None:
    patch = studio.host("patches.motion")
    with torch.inference_mode():
        other = patch.with_motion(studio.scheduled(), studio.other_motion)
        both = patch.with_motion(studio.video(), studio.other_motion)
        none = patch.with_motion(studio.video(), studio.other_motion, strength=0.0)
        again = patch.with_motion(other, studio.motion)
    assert len(both.get_additional_models()) == 1
    expected = studio.sample(other, cfg=1.5)
    assert relative(expected, moving) > 0.1
    assert torch.equal(studio.sample(both, cfg=1.5), expected)
    assert torch.equal(studio.sample(again, cfg=1.5), moving)
    assert not patch.has_motion(none)


def test_the_unet_is_untouched(studio: Studio) -> None:
    unet = studio.model.model.diffusion_model
    names = [name for name, _ in unet.named_modules()]
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    seen: list[int] = []
    model = studio.video()

    def watch(executor: Any, *args: Any, **kw: Any) -> Tensor:
        seen.append(hooks_on(model))
        return executor(*args, **kw)

    model.add_wrapper_with_key("apply_model", "watch", watch)
    studio.sample(model)
    assert seen == [21, 21]
    assert hooks_on(model) == 0
    assert [name for name, _ in unet.named_modules()] == names
    after = unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_clones_copy_no_weights(studio: Studio) -> None:
    model = studio.video()
    weights = next(studio.motion.model.parameters())
    for clone in (model.clone(), model.clone().clone()):
        (patcher,) = clone.get_additional_models()
        assert next(patcher.model.parameters()) is weights

    def tensors(value: Any) -> int:
        if isinstance(value, dict):
            return sum(tensors(v) for v in value.values())
        if isinstance(value, (list, tuple)):
            return sum(tensors(v) for v in value)
        return int(isinstance(value, (Tensor, torch.nn.Module)))

    assert tensors(model.model_options) == 0


def test_masked_latents_keep_what_is_masked(studio: Studio) -> None:
    latent = {"samples": torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(9))}
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    (masked,) = studio.comfy.run("SetLatentNoiseMask", samples=latent, mask=mask)
    got = studio.sample(studio.video(), latent=masked)
    assert torch.allclose(got[..., :4], latent["samples"][..., :4], rtol=1e-4, atol=1e-4)
    assert relative(got[..., 4:], latent["samples"][..., 4:]) > 0.5
