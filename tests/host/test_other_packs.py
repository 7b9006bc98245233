"""What else people put on a MODEL keeps working beside the motion model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.controls import controlled, controlnet
from support.studio import Studio, hooked, hooks_on, relative
from torch import Tensor


def test_controlnet_sees_each_frame(studio: Studio) -> None:
    """Another hint on frame 3: without motion only that frame changes, with motion all do."""
    hint = torch.rand(8, 64, 64, 3, generator=torch.Generator().manual_seed(5))
    other = hint.clone()
    other[3] = 1 - other[3]
    rest = [i for i in range(8) if i != 3]
    for model, related in ((studio.scheduled(), False), (studio.video(), True)):
        free = studio.sample(model, 8, cfg=1.5)
        a, b = (controlled(studio, model, controlnet(studio), h) for h in (hint, other))
        assert relative(a, free) > 0.01
        assert relative(a[3], b[3]) > 5e-4
        assert (relative(a[rest], b[rest]) > 1e-5) == related


def test_lora_hooks_on_conditions(studio: Studio) -> None:
    model = studio.video()
    moving = studio.sample(model, cfg=1.5)
    positive, negative = hooked(studio, studio.positive), hooked(studio, studio.negative)
    both = studio.sample(model, cfg=1.5, positive=positive, negative=negative)
    assert relative(both, studio.sample(studio.lora(model), cfg=1.5)) < 1e-5
    one = studio.sample(model, cfg=1.5, positive=hooked(studio, studio.positive))
    assert relative(one, both) > 0.01
    assert relative(one, moving) > 0.01
    assert torch.equal(studio.sample(model, cfg=1.5), moving)


def test_areas(studio: Studio) -> None:
    """A condition for the left half: its own, smaller evaluation."""
    (half,) = studio.comfy.run(
        "ConditioningSetArea", conditioning=studio.positive, width=32, height=64, x=0, y=0, strength=1.0
    )
    (both,) = studio.comfy.run("ConditioningCombine", conditioning_1=half, conditioning_2=studio.negative)
    model = studio.video()
    got = studio.sample(model, positive=both)
    assert got.isfinite().all()
    assert relative(got, studio.sample(model)) > 1e-3
    assert relative(got, studio.sample(studio.scheduled(), positive=both)) > 0.05


@pytest.mark.parametrize("name", ["FreeU_V2", "PatchModelAddDownscale", "PerpNeg", "HyperTile"])
def test_patches_of_the_host(studio: Studio, name: str) -> None:
    """Before or behind the motion model: the same result."""
    settings = {
        "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        "PatchModelAddDownscale": {
            "block_number": 3,
            "downscale_factor": 2.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "downscale_after_skip": True,
            "downscale_method": "bicubic",
            "upscale_method": "bicubic",
        },
        "PerpNeg": {"empty_conditioning": studio.negative, "neg_scale": 1.0},
        "HyperTile": {"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    }[name]
    if name not in studio.comfy.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this ComfyUI has no node {name}")

    def patched(model: Any) -> Any:
        return studio.comfy.run(name, model=model, **settings)[0]

    how = {"steps": 1, "cfg": 1.5, "latent": studio.empty(5, 128)}
    before = studio.sample(studio.video(patched(studio.model)), **how)
    behind = studio.sample(patched(studio.video()), **how)
    still = studio.sample(patched(studio.scheduled()), **how)
    assert before.isfinite().all()
    assert torch.equal(before, behind)
    assert relative(before, still) > 0.05


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "ddim", "uni_pc", "heun"])
def test_samplers_on_the_undistilled_schedule(studio: Studio, sampler: str) -> None:
    settings = {"steps": 4, "cfg": 4.0, "sampler_name": sampler, "scheduler": "normal"}
    got = studio.ksampler(studio.video(schedule="animatediff"), 8, **settings)
    still = studio.ksampler(studio.scheduled(schedule="animatediff"), 8, **settings)
    assert got.isfinite().all()
    assert relative(got, still) > 0.02


def test_hooks_of_others_stay(studio: Studio) -> None:
    calls: list[int] = []
    layer = studio.model.model.diffusion_model.input_blocks[1][1]
    handle = layer.register_forward_hook(lambda *args: calls.append(1))
    try:
        studio.sample(studio.video())
        assert calls == [1, 1]
        assert hooks_on(studio.model) == 1
    finally:
        handle.remove()


def test_a_pack_that_splits_the_frames_is_told(studio: Studio) -> None:
    model = studio.video()

    def halves(apply: Any, given: dict[str, Any]) -> Tensor:
        x, t, c = given["input"], given["timestep"], dict(given["c"])
        c["c_crossattn"] = c["c_crossattn"][:4]
        return torch.cat([apply(x[i : i + 4], t[i : i + 4], **c) for i in (0, 4)])

    model.set_model_unet_function_wrapper(halves)
    with pytest.raises(ValueError, match="got a batch of 4; expected a multiple of 8 frames.*in parts"):
        studio.sample(model)
    assert hooks_on(model) == 0


@pytest.mark.parametrize("motion_first", [True, False])
def test_conditions_on_two_devices(studio: Studio, motion_first: bool) -> None:
    """The multi-GPU split on two names of the CPU: each device has a UNet and a motion model of its own."""
    if not hasattr(studio.model, "deepclone_multigpu"):
        pytest.skip("this ComfyUI does not split work over devices")
    expected = studio.sample(studio.video(), cfg=1.5)
    model = (studio.video() if motion_first else studio.scheduled()).clone()
    with torch.inference_mode():
        second = model.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
        second.is_multigpu_base_clone = True
        model.set_additional_models("multigpu", [second])
        if not motion_first:
            model = studio.host("patches.motion").with_motion(model, studio.motion)
    seen: dict[int, int] = {}

    def watch(executor: Any, x: Tensor, *args: Any, **kw: Any) -> Tensor:
        unet = executor.class_obj.diffusion_model
        seen[id(unet)] = sum(len(layer._forward_hooks) for layer in unet.modules())
        return executor(x, *args, **kw)

    model.add_wrapper_with_key("apply_model", "watch", watch)
    assert relative(studio.sample(model, cfg=1.5), expected) < 1e-5
    assert list(seen.values()) == [21, 21]
    assert hooks_on(second) == hooks_on(model) == 0


def windows(studio: Studio, model: Any, **settings: Any) -> Any:
    given = {
        "context_length": 16,
        "context_overlap": 4,
        "context_schedule": "standard_static",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
        "dim": 0,
        "freenoise": False,
        "cond_retain_index_list": "",
        "split_conds_to_windows": False,
    } | settings
    node = studio.comfy.node("ContextWindowsManual")
    known = {item.id for item in node.define_schema().inputs}
    return studio.comfy.run(
        "ContextWindowsManual", model=model, **{key: value for key, value in given.items() if key in known}
    )[0]


def test_context_windows(studio: Studio) -> None:
    """The frame count is the window's: 70 frames pass, though the motion model knows 64."""
    if studio.comfy.host.version.startswith("0.3."):
        pytest.skip("this ComfyUI's own windows fail for frames in the batch (corrected in 0.4)")
    frames: list[int] = []
    model = windows(studio, studio.video(), causal_window_fix=False)

    def watch(executor: Any, x: Tensor, *args: Any, **kw: Any) -> Tensor:
        frames.append(x.shape[0])
        return executor(x, *args, **kw)

    model.add_wrapper_with_key("diffusion_model", "watch", watch)
    got = studio.sample(model, 70, steps=1)
    assert got.shape[0] == 70
    assert got.isfinite().all()
    assert frames
    assert set(frames) == {16}
    alone = studio.sample(windows(studio, studio.scheduled(), causal_window_fix=False), 70, steps=1)
    assert relative(got, alone) > 0.1
    with pytest.raises(ValueError, match="got 70 frames; expected at most 64"):
        studio.sample(studio.video(), 70, steps=1)


def test_windows_longer_than_the_model_knows(studio: Studio) -> None:
    if studio.comfy.host.version.startswith("0.3."):
        pytest.skip("this ComfyUI's own windows fail for frames in the batch (corrected in 0.4)")
    model = windows(studio, studio.video(), context_length=65, causal_window_fix=False)
    with pytest.raises(ValueError, match="got 65 frames; expected at most 64"):
        studio.sample(model, 70, steps=1)
