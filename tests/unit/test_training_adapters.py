"""ControlNets and T2I-Adapters on the training side: names, files, from nothing, and a LoRA on them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import adapter_layouts
import pytest
import sd15_layout
import torch
from safetensors.torch import load_file, save_file

from animatelcm_core.formats import adapter_lora_key, check_adapter_lora, identify
from tests.support.small_run import CHECKPOINT, config_of, trainer_of, write_adapter, write_lora
from training import sd15
from training.adapters import (
    Control,
    build_adapter,
    layers,
    load_adapter,
    published_name,
    published_tensors,
)
from training.base import load_base
from training.config import BaseConfig, ConfigError
from training.engine import Trainer
from training.roles import Hints
from training.runs import train
from training.stages.adapter import AdapterStage
from training.stages.control import ControlStage

KINDS = ("controlnet", "t2i_adapter")
HINT = {"low": 0.05, "high": 0.1}  # decoded noise has few strong edges


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters")
    write_lora(out / "lora.safetensors")
    return out


@pytest.fixture(scope="module")
def adapters(folder: Path) -> dict[str, Path]:
    """One adapter of each kind that says something, in the published layout."""
    return {kind: write_adapter(folder / f"{kind}.safetensors", kind) for kind in KINDS}  # type: ignore[arg-type]


def control_config(folder: Path, out: Path, kind: str, adapter: Path, **changes: Any) -> Any:
    section = {"kind": kind, "adapter": adapter, "hint": HINT}
    return config_of("control", folder, out=out, control=section, **changes)


def control(folder: Path, out: Path, kind: str, path: Path, **changes: Any) -> tuple[Trainer, ControlStage]:
    trainer = trainer_of(control_config(folder, out, kind, path, **changes))
    assert isinstance(trainer.stage, ControlStage)
    return trainer, trainer.stage


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_the_released_files(kind: str) -> None:
    """Every tensor of the real layouts, and no other, with its shape."""
    with torch.device("meta"):
        network = build_adapter(kind, sd15.build_unet(), 1)  # type: ignore[arg-type]
    got = {
        name.removeprefix("control_model."): tuple(value.shape)
        for name, value in published_tensors(kind, network.state_dict()).items()
    }  # type: ignore[arg-type]
    sizes = sd15_layout.FULL
    expected = (
        adapter_layouts.controlnet_shapes(sizes)
        if kind == "controlnet"
        else adapter_layouts.t2i_shapes(sizes.channels)
    )
    assert got == expected
    lora = {adapter_lora_key(kind, published_name(kind, name)) for name in layers(network)}  # type: ignore[arg-type]
    keys = adapter_layouts.adapter_lora_shapes(kind, expected, 4)
    assert lora == {key.partition(".")[0] for key in keys}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_read_under_both_names(kind: Any, adapters: dict[str, Path], tmp_path: Path) -> None:
    unet = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT)).unet
    network = load_adapter(adapters[kind], kind, unet)
    theirs = tmp_path / "theirs.safetensors"
    save_file(network.state_dict(), theirs)
    again = load_adapter(theirs, kind, unet).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    other = KINDS[1 - KINDS.index(kind)]
    with pytest.raises(ConfigError, match="got a .*; expected a"):
        load_adapter(adapters[other], kind, unet)
    broken = load_file(adapters[kind])
    broken.pop(next(iter(broken)))
    save_file(broken, theirs)
    with pytest.raises(ConfigError, match="of the sizes of the base's UNet"):
        load_adapter(theirs, kind, unet)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_controlnet_is_silent_and_an_adapter_is_heard(kind: Any, adapters: dict[str, Path]) -> None:
    unet = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT)).unet
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([500, 500])
    context, hints = torch.randn(2, 77, 32), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        bare = unet(x, t, context, return_dict=False)[0]
        for network, silent in ((build_adapter("controlnet", unet), True), (None, False)):
            made = network if network is not None else load_adapter(adapters[kind], kind, unet)
            said = Control("controlnet" if silent else kind, made, unet)(x, t, context, hints)
            got = unet(x, t, context, return_dict=False, **said)[0]
            assert torch.allclose(got, bare, atol=1e-5) == silent


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_lora_learns_and_the_target_follows(
    kind: str, folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    trainer, stage = control(folder, tmp_path / "run", kind, adapters[kind], steps=1, mu=0.9)
    network = stage.network.control.network  # type: ignore[union-attr]
    assert len(stage.control_lora.layers) == len(layers(load_adapter(adapters[kind], kind, stage.base.unet)))  # type: ignore[arg-type]
    fixed = {k: p.detach().clone() for k, p in stage.network.named_parameters() if k not in learned(trainer)}
    first = {k: p.detach().clone() for k, p in stage.control_lora.parameters("target").items()}
    trainer.run()
    changed = {k for k, p in stage.network.named_parameters() if k in fixed and not torch.equal(p, fixed[k])}
    assert all(".target." in name for name in changed)
    assert network.training is False
    for name, parameter in stage.control_lora.parameters("target").items():
        expected = first[name].lerp(trainer.params[name].detach(), 0.1)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-6)


def learned(trainer: Trainer) -> set[str]:
    ids = {id(p) for p in trainer.params.values()}
    return {name for name, p in trainer.stage.network.named_parameters() if id(p) in ids}


@pytest.mark.parametrize("kind", KINDS)
def test_hints_lead_and_their_strength_is_the_roles(
    kind: str, folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    trainer, stage = control(folder, tmp_path / "run", kind, adapters[kind], optim={"lr": 1e-2})
    trainer.run()
    x, t = torch.randn(1, 3, 4, 4, 4), torch.tensor([499])
    context = stage.base.encode_text(["a red fish swimming left"])

    def answer(scale: float | None, hints: torch.Tensor) -> torch.Tensor:
        role = type(stage.student())(stage.theta, 1.0, control=scale)
        with torch.no_grad(), stage.network.acting(role, 3, Hints(hints)):
            return stage.eps(x, t, context, stage.network, nullcontext)

    hints, other = torch.rand(2, 3, 3, 32, 32)
    free, plain, adapted = (answer(scale, hints) for scale in (None, 0.0, 1.0))
    assert (plain - free).abs().max() > 1e-4
    assert (adapted - plain).abs().max() > 1e-4
    assert (adapted - answer(1.0, other)).abs().max() > 1e-4
    assert stage.network.hints is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_file_is_the_adapter_plus_the_lora(
    kind: Any, folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    trainer = train(control_config(folder, tmp_path / "run", kind, adapters[kind], optim={"lr": 1e-2}))
    lora, whole = (tmp_path / "run" / "export" / f"tiny_control{end}.safetensors" for end in ("_lora", ""))
    tensors, base = load_file(lora), load_file(adapters[kind])
    shapes = {
        key.removeprefix("control_model.").removesuffix(".weight"): tuple(value.shape)
        for key, value in base.items()
        if key.endswith(".weight")
    }
    check_adapter_lora(tensors, lora.name, kind, shapes)
    merged = load_file(whole)
    assert identify(merged).kind == kind
    assert merged.keys() == base.keys()
    stage = trainer.stage
    assert isinstance(stage, ControlStage)
    x, t = torch.randn(1, 3, 4, 4, 4), torch.tensor([499])
    context, hints = stage.base.encode_text(["a blue crab sleeping"]), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        with stage.network.acting(stage.student(), 3, Hints(hints)):
            expected = stage.eps(x, t, context, stage.network, nullcontext)
        again = load_adapter(whole, kind, stage.base.unet)
        stage.network.control, stage.network.control_lora = Control(kind, again, stage.base.unet), None
        with stage.network.acting(stage.student(), 3, Hints(hints)):
            got = stage.eps(x, t, context, stage.network, nullcontext)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-3)  # the file has 16 bits


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_from_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    """It learns alone, is exported in the published layout, and resumes to the same weights."""

    def run(out: Path, steps: int) -> Trainer:
        config = config_of(
            "adapter",
            folder,
            out=out,
            steps=steps,
            adapter={"kind": kind, "hint": HINT, "snr": [0.1, 5.0]},
            samples={"prompts": ["one"], "steps": [2], "every": 4, "size": [32, 32]},
        )
        return train(config)

    whole = run(tmp_path / "whole", 4)
    stage = whole.stage
    assert isinstance(stage, AdapterStage)
    assert len(learned(whole)) == sum(1 for _ in stage.network.control.parameters())  # type: ignore[union-attr]
    (path,) = (tmp_path / "whole" / "export").iterdir()
    assert identify(load_file(path)).kind == kind
    load_adapter(path, kind, stage.base.unet)  # type: ignore[arg-type]
    assert [p.name for p in (tmp_path / "whole" / "samples").iterdir()] == ["step_00000004.png"]
    run(tmp_path / "cut", 2)
    again = run(tmp_path / "cut", 4)
    assert all(torch.equal(p, again.params[name]) for name, p in whole.params.items())


def test_an_adapter_is_trained_further(folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """From its own weights, and only from a file of its kind."""
    section = {"kind": "t2i_adapter", "start": adapters["t2i_adapter"], "hint": HINT}
    config = config_of("adapter", folder, out=tmp_path, steps=1, adapter=section, optim={"lr": 1e-6})
    stage = train(config).stage
    assert isinstance(stage, AdapterStage)
    began = load_adapter(adapters["t2i_adapter"], "t2i_adapter", stage.base.unet).state_dict()
    for name, value in stage.network.control.network.state_dict().items():  # type: ignore[union-attr]
        torch.testing.assert_close(value, began[name], rtol=0, atol=2e-6)
    section["start"] = adapters["controlnet"]
    with pytest.raises(ConfigError, match="expected a T2I-Adapter"):
        train(config_of("adapter", folder, out=tmp_path / "other", steps=1, adapter=section))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_run_goes_on(kind: str, folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    whole, _ = control(folder, tmp_path / "whole", kind, adapters[kind], ema_decay=0.9)
    whole.run()
    half, _ = control(folder, tmp_path / "cut", kind, adapters[kind], ema_decay=0.9, steps=2)
    half.run()
    again, stage = control(folder, tmp_path / "cut", kind, adapters[kind], ema_decay=0.9)
    assert again.step == 2
    again.run()
    assert all(torch.equal(p, again.params[name]) for name, p in whole.params.items())
    assert all(torch.equal(p, again.average[name]) for name, p in whole.average.items())
    other = whole.stage
    assert isinstance(other, ControlStage)
    targets = stage.control_lora.parameters("target")
    assert all(torch.equal(p, targets[k]) for k, p in other.control_lora.parameters("target").items())


def test_hints_of_a_folder(folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """They are the hint video's frames at the clip's place; data without them is told."""
    import av
    import numpy as np
    from PIL import Image

    from training.data import VideoFolder, Videos, collate
    from training.hints import hints_of

    for name, shade in (("clips", 1), ("hints", 10)):
        (tmp_path / name).mkdir()
        with av.open(tmp_path / name / "a.mp4", "w") as container:
            stream = container.add_stream("h264", rate=8, options={"crf": "0"})
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv444p"
            for i in range(12):
                picture = Image.fromarray(np.full((32, 32, 3), 20 + shade * i, np.uint8))
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
    (tmp_path / "clips" / "a.txt").write_text("a red fish swimming left")
    config = Videos(path=tmp_path / "clips", hints=tmp_path / "hints", frames=3, stride=2, size=(32, 32))
    batch = collate([VideoFolder(config).load(0, torch.Generator().manual_seed(5))])
    assert batch.hints is not None
    assert batch.pixels is not None
    numbers = ((batch.pixels[0, :, 0, 9, 9] + 1) * 127.5 - 20).round()
    assert torch.allclose((batch.hints[0, :, 0, 9, 9] * 255 - 20) / 10, numbers, atol=0.3)
    trainer, stage = control(folder, tmp_path / "run", "controlnet", adapters["controlnet"])
    hint = stage.config.control.hint.model_copy(update={"kind": "folder"})
    latents = torch.zeros(1, 3, 4, 4, 4)
    assert hints_of(hint, batch, latents, stage.base).shape == (3, 3, 32, 32)
    with pytest.raises(ConfigError, match="got hint.kind folder with data that brings no hints"):
        hints_of(hint, next(iter(trainer.loader)), latents, stage.base)
