"""A LoRA on a ControlNet or T2I-Adapter, and hints from edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import small_files
from support.controls import applied, controlled, controlnet, network_of, t2i_adapter
from support.studio import Studio, relative
from torch import Tensor

NODE = "AnimateLCM_ControlLoRA"
LORAS = {"controlnet": small_files.CONTROL_LORA, "t2i_adapter": small_files.T2I_LORA}
MAKERS = {"controlnet": controlnet, "t2i_adapter": t2i_adapter}
PREFIX = {"controlnet": "lora_controlnet_", "t2i_adapter": "lora_t2iadapter_"}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def control(studio: Studio, kind: str) -> Any:
    return MAKERS[kind](studio)


@pytest.fixture(scope="module")
def hint() -> Tensor:
    return torch.rand(8, 64, 64, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def adapted(studio: Studio, kind: str) -> Callable[..., Any]:
    """AnimateLCM Control LoRA with the LoRA for this kind."""

    def run(control: Any, strength: float = 1.0, lora: str = "") -> Any:
        name = lora or Path(LORAS[kind]).name
        return studio.comfy.run(NODE, control_net=control, lora=name, strength=strength)[0]

    return run


def weights_of(control: Any) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network_of(control).state_dict().items()}


def merged_by_hand(studio: Studio, kind: str, strength: float = 1.0) -> Any:
    """The control with the LoRA in its weights, by this test's own arithmetic."""
    control = MAKERS[kind](studio)
    lora, network = load_file(studio.path(LORAS[kind])), network_of(control)
    with torch.inference_mode():
        state = {key: value.clone() for key, value in network.state_dict().items()}
        for key in [k for k in state if k.endswith(".weight") and state[k].ndim > 1]:
            stem = PREFIX[kind] + key.removesuffix(".weight").replace(".", "_")
            down, up = lora[f"{stem}.lora_down.weight"].float(), lora[f"{stem}.lora_up.weight"].float()
            scale = strength * float(lora[f"{stem}.alpha"]) / down.shape[0]
            state[key] += (scale * up.flatten(1) @ down.flatten(1)).reshape(state[key].shape)
        network.load_state_dict(state)
    return control


def test_it_is_the_sum_of_both(studio: Studio, kind: str, control: Any, adapted: Any, hint: Tensor) -> None:
    before = weights_of(control)
    made = adapted(control, 0.7)
    model = studio.video()
    got = controlled(studio, model, made, hint)
    assert relative(got, controlled(studio, model, merged_by_hand(studio, kind, 0.7), hint)) < 1e-4
    plain = controlled(studio, model, control, hint)
    assert relative(got, plain) > 1e-3
    assert all(torch.equal(value, before[key]) for key, value in weights_of(control).items())
    assert torch.equal(plain, controlled(studio, model, MAKERS[kind](studio), hint))


def test_strength_nought_is_no_lora(studio: Studio, control: Any, adapted: Any, hint: Tensor) -> None:
    expected = controlled(studio, studio.video(), control, hint)
    assert torch.equal(controlled(studio, studio.video(), adapted(control, 0.0), hint), expected)


def test_plain_and_adapted_in_one_run(
    studio: Studio, kind: str, control: Any, adapted: Any, hint: Tensor
) -> None:
    def chained(first: Any, second: Any) -> Tensor:
        conditions = applied(studio, second, hint, applied(studio, first, hint))
        return studio.sample(studio.video(), cfg=1.5, positive=conditions[0], negative=conditions[1])

    made = adapted(control)
    expected = chained(MAKERS[kind](studio), merged_by_hand(studio, kind))
    assert relative(chained(control, made), expected) < 1e-4
    assert relative(chained(made, control), expected) < 1e-4
    assert relative(chained(control, control), expected) > 1e-3


def test_two_loras(studio: Studio, kind: str, control: Any, adapted: Any, hint: Tensor) -> None:
    twice = adapted(adapted(control, 0.4), 0.3)
    expected = controlled(studio, studio.video(), merged_by_hand(studio, kind, 0.7), hint)
    assert relative(controlled(studio, studio.video(), twice, hint), expected) < 1e-4


def test_it_survives_unloading(studio: Studio, control: Any, adapted: Any, hint: Tensor) -> None:
    made = adapted(control)
    expected = controlled(studio, studio.video(), made, hint)
    studio.comfy.module("comfy.model_management").unload_all_models()
    assert torch.equal(controlled(studio, studio.video(), made, hint), expected)
    later = adapted(control)  # made while the other is loaded
    assert torch.equal(controlled(studio, studio.video(), later, hint), expected)
    for other in (control, made):
        controlled(studio, studio.video(), other, hint)
    assert torch.equal(controlled(studio, studio.video(), made, hint), expected)


def test_in_windows(studio: Studio, kind: str, control: Any, adapted: Any, hint: Tensor) -> None:
    given = {"context_length": 16, "overlap": 4, "schedule": "standard", "fuse": "flat", "freenoise": False}
    (model,) = studio.comfy.run("AnimateLCM_LongVideo", model=studio.video(), **given)
    hints = hint.repeat(3, 1, 1, 1)
    got = controlled(studio, model, adapted(control), hints, frames=24, steps=1)
    expected = controlled(studio, model, merged_by_hand(studio, kind), hints, frames=24, steps=1)
    assert relative(got, expected) < 1e-4


def test_start_and_end(studio: Studio, control: Any, adapted: Any, hint: Tensor) -> None:
    made, model = adapted(control), studio.video()
    free = studio.sample(model, cfg=1.5)

    def run(**settings: Any) -> Tensor:
        positive, negative = applied(studio, made, hint, **settings)
        return studio.sample(model, cfg=1.5, positive=positive, negative=negative)

    assert torch.equal(run(strength=0.5, start_percent=1.0, end_percent=1.0), free)
    half = run(end_percent=0.5)
    assert relative(half, free) > 1e-3
    assert relative(half, run()) > 1e-5


def test_files_of_another_kind_are_named(
    studio: Studio, kind: str, control: Any, adapted: Any, hint: Tensor
) -> None:
    other = "t2i_adapter" if kind == "controlnet" else "controlnet"
    words = {"controlnet": "a ControlNet", "t2i_adapter": "a T2I-Adapter"}

    def refused(match: str, lora: str) -> None:
        with pytest.raises(ValueError, match=match):
            adapted(control, lora=lora)

    refused(f"got a LoRA for {words[other]} in .*; expected one for {words[kind]}", Path(LORAS[other]).name)
    refused(
        f"got a LoRA.* in small_lcm.safetensors; expected a LoRA for {words[kind]}", "small_lcm.safetensors"
    )
    good = load_file(studio.path(LORAS[kind]))
    folder = Path(studio.path("loras"))

    def written(name: str, tensors: dict[str, Tensor]) -> str:
        save_file({key: value.clone() for key, value in tensors.items()}, folder / name)
        return name

    key = next(k for k in good if k.endswith("lora_up.weight"))
    stem = key.removesuffix(".lora_up.weight")
    wrong = {
        f"{PREFIX[kind]}nowhere.{part}": good[f"{stem}.{part}"]
        for part in ("lora_down.weight", "lora_up.weight")
    }
    refused(
        f"got {PREFIX[kind]}nowhere in foreign.* expected layers of this",
        written("foreign.safetensors", good | wrong),
    )
    refused(
        "got alpha, lora_down.weight for",
        written("half.safetensors", {k: v for k, v in good.items() if k != key}),
    )
    wide = good | {key: torch.cat([good[key]] * 2)}
    refused("got a change of shape", written("wide.safetensors", wide))
    broken = good | {key: good[key] * float("nan")}
    refused("not finite", written("broken.safetensors", broken))
    (folder / "cut.safetensors").write_bytes(Path(studio.path(LORAS[kind])).read_bytes()[:5000])
    refused("cut.safetensors", "cut.safetensors")
    assert controlled(studio, studio.video(), adapted(control), hint).isfinite().all()


def test_a_control_lora_is_told(studio: Studio) -> None:
    control = studio.comfy.module("comfy.controlnet").ControlLora({"lora_controlnet": torch.zeros(0)})
    with pytest.raises(ValueError, match="got a control of the kind ControlLora; expected a ControlNet"):
        studio.comfy.run(NODE, control_net=control, lora=Path(small_files.CONTROL_LORA).name, strength=1.0)


@pytest.mark.parametrize("mode", ["canny", "soft"])
def test_edge_hints(studio: Studio, mode: str) -> None:
    frames = torch.zeros(5, 48, 64, 3)
    for i in range(5):
        frames[i, 12:36, 10 + 4 * i : 34 + 4 * i] = 0.8
    given = {"images": frames, "mode": mode, "low_threshold": 0.4, "high_threshold": 0.8, "smoothing": 1.0}

    def run(**settings: Any) -> Tensor:
        return studio.comfy.run("AnimateLCM_EdgeHints", **(given | settings))[0]

    hints = run()
    assert hints.shape == frames.shape
    assert 0 <= hints.min() < hints.max() <= 1
    for i in range(5):  # the edges move with the square, and lie on it alone
        columns = hints[i, 24, :, 0].nonzero().flatten().tolist()
        assert columns
        assert all(min(abs(c - (9.5 + 4 * i)), abs(c - (33.5 + 4 * i))) <= 3 for c in columns)
    assert torch.equal(hints[1, :, 4:], hints[0, :, :-4]) or mode == "soft"
    assert run(images=frames.half()).isfinite().all()
    assert run(smoothing=6.0).sum() < hints.sum()
    for words, settings in {
        "got the mode 'sobel'": {"mode": "sobel"},
        "got low_threshold 0.8 and high_threshold 0.8": {"low_threshold": 0.8},
        "not finite": {"images": frames * float("nan")},
    }.items():
        with pytest.raises(ValueError, match=words):
            run(**settings)
