"""Before, between and after runs: nothing may stay behind, and nothing may be lost."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import small_files
from support.studio import Studio, hooks_on, relative
from torch import Tensor

UPSAMPLERS = [f"diffusion_model.output_blocks.{i}.{j}.conv.weight" for i, j in ((2, 1), (5, 2), (8, 2))]


@pytest.fixture(scope="module")
def moving(studio: Studio) -> Tensor:
    return studio.sample(studio.video())


@pytest.fixture(scope="module")
def picture(studio: Studio) -> Tensor:
    """The base model's own image run."""
    return studio.image()


def test_image_runs_between_videos_are_bit_equal(studio: Studio, picture: Tensor, moving: Tensor) -> None:
    for _ in range(2):
        assert torch.equal(studio.sample(studio.video()), moving)
        assert torch.equal(studio.image(), picture)
    assert relative(studio.sample(studio.video(schedule="image to video")), moving) > 0.1
    assert torch.equal(studio.image(), picture)
    assert torch.equal(studio.sample(studio.video()), moving)


def test_lora_after_a_run_patches_the_upsamplers(studio: Studio, moving: Tensor) -> None:
    """List mutation, as other packs inject, shifts these layers' names while it is in place."""
    patched = studio.lora(studio.model)
    assert set(UPSAMPLERS) <= set(patched.patches)
    with safe_open(studio.path(small_files.LORA), framework="pt") as file:
        layers = [key for key in file.keys() if key.endswith(".lora_up.weight")]
    assert len(patched.patches) == len(layers) > 250
    after = studio.sample(studio.video(patched))
    before = studio.sample(studio.lora(studio.video()))  # the LoRA behind the motion model
    assert torch.equal(before, after)
    assert relative(after, moving) > 0.05
    assert torch.equal(studio.sample(studio.video()), moving)  # and without it again


def test_unused_clones_and_garbage_change_nothing(studio: Studio, moving: Tensor) -> None:
    model = studio.video()
    clone = model.clone()
    assert torch.equal(studio.sample(model), moving)
    later = model.clone()  # made from a model that has run
    gone = weakref.ref(clone)
    del clone, later
    gc.collect()
    assert gone() is None
    assert torch.equal(studio.sample(model), moving)

    def collect(executor: Any, *args: Any, **kw: Any) -> Tensor:
        model.clone()
        gc.collect()
        return executor(*args, **kw)

    during = model.clone()
    during.add_wrapper_with_key("apply_model", "collect", collect)
    assert torch.equal(studio.sample(during), moving)


@pytest.mark.parametrize("place", ["middle", "hook"])
def test_interrupt_mid_step_leaves_nothing(
    studio: Studio, picture: Tensor, moving: Tensor, place: str
) -> None:
    """The host raises this inside a layer when someone presses cancel."""
    management = studio.comfy.module("comfy.model_management")
    unet = studio.model.model.diffusion_model
    inside = unet.middle_block if place == "middle" else studio.motion.model.up_blocks[1]
    target = inside[1] if place == "middle" else inside.motion_modules[0].temporal_transformer.proj_in
    model = studio.video()

    def interrupt(*args: Any) -> None:
        assert hooks_on(model) > 0
        raise management.InterruptProcessingException

    handle = target.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(management.InterruptProcessingException):
            studio.sample(model)
    finally:
        handle.remove()
    assert hooks_on(model) == 0
    assert torch.equal(studio.image(), picture)
    assert torch.equal(studio.sample(model), moving)


def test_cancel_from_outside(studio: Studio, picture: Tensor) -> None:
    """The host's own flag, as POST /interrupt sets it, met by the layers of the motion model too."""
    management = studio.comfy.module("comfy.model_management")
    model = studio.video()
    first = studio.motion.model.blocks()["down_blocks.1.motion_modules.0"]
    cancel = first.register_forward_pre_hook(lambda *args: management.interrupt_current_processing(True))
    try:
        with pytest.raises(management.InterruptProcessingException):
            studio.sample(model)
    finally:
        cancel.remove()
        management.interrupt_current_processing(False)
    assert hooks_on(model) == 0
    assert torch.equal(studio.image(), picture)


def test_unload_and_reload(studio: Studio, moving: Tensor, picture: Tensor) -> None:
    management = studio.comfy.module("comfy.model_management")
    model = studio.video()
    assert torch.equal(studio.sample(model), moving)
    with torch.inference_mode():
        management.unload_all_models()
    assert torch.equal(studio.image(), picture)
    assert torch.equal(studio.sample(model), moving)
    with torch.inference_mode():
        management.free_memory(1e30, torch.device("cpu"))
        management.soft_empty_cache()
    assert torch.equal(studio.sample(model), moving)


def test_partly_unloaded_weights(studio: Studio, moving: Tensor) -> None:
    """As on a card that is too small: some layers keep their weights elsewhere and cast them to run."""
    model = studio.video(studio.lora(studio.model))
    expected = studio.sample(model)
    for patcher in (model, *model.get_additional_models()):
        with torch.inference_mode():
            patcher.partially_unload(patcher.offload_device, patcher.model_size() // 2)
    assert relative(studio.sample(model), expected) < 1e-5
    with torch.inference_mode():
        studio.comfy.module("comfy.model_management").unload_all_models()
    assert torch.equal(studio.sample(studio.video()), moving)


def test_motion_is_an_additional_model_of_the_host(studio: Studio) -> None:
    management = studio.comfy.module("comfy.model_management")
    model = studio.video()
    studio.sample(model)
    loaded = {id(entry.model.model) for entry in management.current_loaded_models if entry.model is not None}
    assert id(studio.motion.model) in loaded
    assert id(studio.model.model) in loaded
