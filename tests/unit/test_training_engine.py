"""The loop: resuming, averages, guards, checkpoints, processes. On the small world's shipped weights."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from animatelcm_core.formats import load_motion, read_tensors, require_lora
from tests.support.small_run import config_of, trainer_of, write_lora
from training import checkpoint, engine
from training.config import ConfigError, fingerprint, fingerprints
from training.engine import Interrupted, Trainer
from training.lr_schedule import lr_at
from training.metrics import trim
from training.runs import export_run, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engine")
    write_lora(out / "lora.safetensors")
    return out


def make(stage: str, folder: Path, out: Path, **changes: Any) -> Trainer:
    return trainer_of(config_of(stage, folder, out=out, **changes))


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = {name: p.detach() for name, p in trainer.params.items()}
    state |= {f"average.{k}": v for k, v in trainer.average.items()} | trainer.stage.extra_state()
    for i, moments in trainer.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
    return state


@pytest.mark.parametrize("stage", ["image", "video", "image-to-video"])
def test_a_run_that_was_cut_ends_bit_for_bit_like_one_that_was_not(stage: str, folder: Path, tmp_path: Path):
    changes = {"ema_decay": 0.9, "batch": {"size": 2, "accumulate": 2}}
    whole = make(stage, folder, tmp_path / "whole", **changes)
    whole.run()
    part = make(stage, folder, tmp_path / "part", **changes)
    part.config = part.config.model_copy(update={"steps": 3, "save_every": 2})
    part.stop = False

    class Killed(Exception):
        pass

    save = part.save

    def killed_after_saving() -> None:
        save()
        raise Killed

    part.save = killed_after_saving  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        part.run()
    resumed = make(stage, folder, tmp_path / "part", **changes)
    assert resumed.step == 2
    resumed.run()
    expected, got = everything(whole), everything(resumed)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name
    rows = [json.loads(x) for x in (tmp_path / "part" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    first = [json.loads(x) for x in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [row["loss"] for row in first]
    assert [row["tflop"] for row in rows] == [row["tflop"] for row in first]


def test_accumulated_micro_batches_are_one_large_batch(folder: Path, tmp_path: Path):
    large = make("video", folder, tmp_path / "large", batch={"size": 4})
    small = make("video", folder, tmp_path / "small", batch={"size": 1, "accumulate": 4})
    start = {name: p.detach().clone() for name, p in large.params.items()}
    large.run()
    small.run()
    for name, parameter in large.params.items():
        assert_same_run(parameter.detach(), small.params[name].detach(), start[name])


def assert_same_run(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor) -> None:
    """Apart by 5 thousandths of what was learned, in the mean: Adam divides by gradients that may be tiny."""
    assert (a - b).abs().mean() < 5e-3 * (a - start).abs().mean()


def test_a_signal_saves_and_the_same_command_goes_on(folder: Path, tmp_path: Path):
    trainer = make("video", folder, tmp_path / "run", save_every=100, steps=3)
    step = trainer.stage.step

    def step_and_signal(*args: Any):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a launcher repeats what its terminal gave to all
        return step(*args)

    trainer.stage.step = step_and_signal  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGTERM)
    trainer.tflop = 1.0  # no counting pass, which would signal twice
    with pytest.raises(Interrupted, match="stopped at step 1 of 3"):
        trainer.run()
    assert signal.getsignal(signal.SIGTERM) is before
    again = make("video", folder, tmp_path / "run", save_every=100, steps=3)
    assert again.step == 1
    again.run()
    assert again.step == 3


def test_asking_again_later_ends_at_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "ONE_REQUEST", -1.0)
    trainer = make("video", folder, tmp_path / "run", steps=3)
    with trainer.listening():
        signal.raise_signal(signal.SIGINT)
        assert trainer.stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_updates_that_are_not_finite_are_left_out_and_end_the_run_if_they_go_on(folder: Path, tmp_path: Path):
    trainer = make("video", folder, tmp_path / "run", steps=8)
    before = {name: p.detach().clone() for name, p in trainer.params.items()}
    step, calls = trainer.stage.step, []

    def bad(batch: Any, backward: Any, autocast: Any):
        calls.append(1)
        return step(batch, lambda loss: backward(loss * float("nan")), autocast)

    trainer.stage.step = bad  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="got 5 updates in a row that are not finite"):
        trainer.run()
    for name, parameter in trainer.params.items():
        assert torch.equal(parameter.detach(), before[name])
    assert trainer.stage.rho == 0  # the target did not follow what did not happen


def test_clipping_really_applies(folder: Path, tmp_path: Path):
    trainer = make("image", folder, tmp_path / "run", steps=1, optim={"max_grad_norm": 1e-3, "lr": 1.0})
    seen: dict[str, float] = {}
    step = trainer.optimizer.step

    def spy(*args: Any, **kwargs: Any):
        squares = [p.grad.square().sum() for p in trainer.params.values() if p.grad is not None]
        seen["norm"] = float(torch.stack(squares).sum().sqrt())
        return step(*args, **kwargs)

    trainer.optimizer.step = spy  # type: ignore[method-assign]
    trainer.run()
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["norm"] > 2e-3  # as it was
    assert seen["norm"] == pytest.approx(1e-3, rel=1e-3)


def test_the_rate_warms_up_and_falls():
    rates = [lr_at(1.0, 4, step, 20, cosine=True) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a >= b for a, b in zip(rates[4:], rates[5:], strict=False))
    assert 0.05 <= rates[-1] < 0.1
    assert lr_at(1.0, 0, 19, 20, cosine=False) == 1.0


def test_the_newest_checkpoints_are_kept_and_a_half_written_one_is_not_seen(folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    trainer = make("image", folder, out, save_every=1, keep=2)
    trainer.run()
    assert [p.name for p in checkpoint.list_checkpoints(out)] == ["step_00000003", "step_00000004"]
    (out / "checkpoints" / "step_00000009.tmp").mkdir()
    (out / "checkpoints" / "step_00000008").mkdir()  # no state.json
    assert [p.name for p in checkpoint.list_checkpoints(out)][-1] == "step_00000004"
    assert make("image", folder, out).step == 4


def test_a_full_disk_costs_no_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "run"
    trainer = make("image", folder, out, steps=2)
    trainer.run()

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    trainer.step = 3
    with pytest.raises(OSError, match="No space left on device.*Older checkpoints are whole"):
        trainer.save()
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step_00000002"]
    monkeypatch.undo()
    assert make("image", folder, out).step == 2


def test_a_damaged_checkpoint_and_another_config_are_refused_by_name(folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    make("image", folder, out, steps=2).run()
    with pytest.raises(ConfigError, match="got a config other than that of .*step_00000002"):
        make("image", folder, out, solver={"guidance": [1.0, 2.0]})
    file = checkpoint.list_checkpoints(out)[-1] / "online.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="got an unreadable checkpoint .*Remove that folder"):
        make("image", folder, out)


def test_a_run_goes_on_with_the_same_batch_split_otherwise(folder: Path, tmp_path: Path):
    whole = make("image", folder, tmp_path / "whole", batch={"size": 4})
    whole.run()
    out = tmp_path / "split"
    make("image", folder, out, steps=2, batch={"size": 4}).run()
    with pytest.raises(ConfigError, match="samples an update"):
        make("image", folder, out, batch={"size": 2})
    split = make("image", folder, out, batch={"size": 2, "accumulate": 2})
    assert split.step == 2
    split.run()
    for name, parameter in whole.params.items():
        assert torch.allclose(split.params[name], parameter, atol=1e-5), name


def test_a_config_that_is_refused_does_not_replace_the_saved_one(folder: Path, tmp_path: Path):
    train(config_of("image", folder, out=tmp_path / "run", steps=1))
    saved = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="the config that is saved beside the checkpoints"):
        train(config_of("image", folder, out=tmp_path / "run", steps=1, seed=1))
    assert (tmp_path / "run" / "config.yaml").read_text() == saved


def test_a_checkpoint_of_the_old_names_is_resumed(folder: Path, tmp_path: Path) -> None:
    config = config_of("image", folder, out=tmp_path / "run", steps=1)
    (old,) = fingerprints(config, 1) - {fingerprint(config, 1)}
    train(config)
    (path,) = (tmp_path / "run" / "checkpoints").glob("*/state.json")
    path.write_text(path.read_text().replace(fingerprint(config, 1), old))
    assert trainer_of(config).step == 1


def test_a_run_exports_where_its_base_is_not(folder: Path, tmp_path: Path):
    config = config_of("image", folder, out=tmp_path / "run", steps=1)
    train(config)
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace(str(config.base.checkpoint), "elsewhere/base.safetensors"))
    assert [p.name for p in export_run(tmp_path / "run", tmp_path / "to")] == ["tiny_image.safetensors"]


def test_rows_after_the_checkpoint_are_forgotten_half_lines_too(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st', encoding="ascii")
    trim(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_run_exports_files_that_the_pack_reads(folder: Path, tmp_path: Path):
    config = config_of("video", folder, out=tmp_path / "run", steps=2, ema_decay=0.5)
    trainer = train(config)
    path = tmp_path / "run" / "export" / "tiny_video.safetensors"
    tensors, metadata = read_tensors(path)
    file = load_motion(tensors, metadata, path.name)
    assert file.kind == "animatelcm_t2v"
    assert (file.schedule, metadata["animatelcm.heads"], metadata["animatelcm.steps"]) == (
        "text to video",
        "4",
        "2",
    )
    assert not any("pos_encoder" in key for key in tensors)
    for name, value in trainer.average.items():
        assert torch.equal(tensors[name], value.half()), name
    online = export_run(tmp_path / "run", tmp_path / "online", online=True, diffusers=True)
    assert [p.name for p in online] == ["tiny_video.safetensors", "tiny_video_diffusers.safetensors"]
    adapter, _ = read_tensors(online[1])
    assert load_motion(adapter, {"animatelcm.heads": "4"}, "lcm").motion.keys() == file.motion.keys()


def test_without_decouple_exports_its_lora_too(folder: Path, tmp_path: Path):
    train(
        config_of("video", folder, out=tmp_path / "run", steps=1, arm="without_decouple", base={"lora": None})
    )
    names = sorted(p.name for p in (tmp_path / "run" / "export").iterdir())
    assert names == ["tiny_video.safetensors", "tiny_video_lora.safetensors"]
    tensors, metadata = read_tensors(tmp_path / "run" / "export" / names[1])
    require_lora(tensors, names[1])
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "4")
    assert sum(key.endswith(".alpha") for key in tensors) == len(tensors) // 3


def test_sample_grids_show_every_prompt_at_every_number_of_steps(folder: Path, tmp_path: Path):
    samples = {"prompts": ["a red fish sleeping", "a blue crab sleeping"], "steps": [1, 2], "every": 1}
    samples |= {"frames": 3, "size": [32, 32]}
    trainer = make("video", folder, tmp_path / "run", steps=1, samples=samples)
    trainer.run()
    from PIL import Image

    with Image.open(tmp_path / "run" / "samples" / "step_00000001.gif") as grid:
        assert (grid.size, getattr(grid, "n_frames", 1)) == ((64, 64), 3)


def test_every_part_of_the_log_is_there(folder: Path, tmp_path: Path):
    make("video", folder, tmp_path / "run", steps=2, batch={"size": 4}).run()
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "norm", "rate", "clips_per_second", "data_wait", "tflop", "rho"} <= rows[1].keys()
    assert rows[1]["tflop"] == pytest.approx(2 * rows[0]["tflop"], rel=1e-5)
    assert rows[1]["rho"] == pytest.approx(1 - 0.95**2)
    assert any(key.startswith("distance_") for key in rows[1])
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_bfloat16_weights_need_mixed_precision(folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="got base.dtype bfloat16 with mixed precision no; expected bf16"):
        make("image", folder, tmp_path / "run", base={"dtype": "bfloat16"})


def test_lora_metadata_and_types_of_an_image_run(folder: Path, tmp_path: Path):
    train(config_of("image", folder, out=tmp_path / "run", steps=1))
    path = tmp_path / "run" / "export" / "tiny_image.safetensors"
    with safe_open(path, framework="pt") as opened:
        assert opened.metadata()["animatelcm.base"] == "shapes_sd.safetensors"
    assert {v.dtype for v in load_file(path).values()} == {torch.float16}
