"""Resuming: what is loaded is compared first, damage is passed over by name, and no number is not finite."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.small_run import config_of, trainer_of
from training import checkpoint
from training.checkpoint_fit import all_finite
from training.config import ConfigError, as_yaml
from training.engine import Trainer
from training.health import Health
from training.runs import export_run

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run of two steps, with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("resume")
    config = config_of("image", folder, out=folder / "run", steps=2, save_every=1, ema_decay=0.5)
    trainer = trainer_of(config)
    trainer.run()
    (config.out / "config.yaml").write_text(as_yaml(config))
    return trainer


@pytest.fixture
def out(trainer: Trainer, tmp_path: Path) -> Path:
    """A copy of the run, to damage."""
    return shutil.copytree(trainer.config.out, tmp_path / "run")


def newest(out: Path, trainer: Trainer) -> tuple[Path, checkpoint.State] | None:
    """What a run in `out` would resume from."""
    return checkpoint.newest(out, trainer._fit)


def state_json(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "state.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def unsealed(folder: Path) -> None:
    """As an earlier release wrote it."""
    path = folder / "state.json"
    values = json.loads(path.read_text())
    values.pop("files", None)
    values["counters"].pop("left_out", None)
    path.write_text(json.dumps(values))


def optimizer(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        unsealed(folder)
        state = torch.load(folder / "optimizer.pt", weights_only=True)
        torch.save(change(state), folder / "optimizer.pt")

    return apply


def moments(**values: Any) -> Change:
    """Other moments of every parameter."""
    return optimizer(lambda o: {**o, "state": {i: {**m, **values} for i, m in o["state"].items()}})


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    def apply(folder: Path) -> None:
        unsealed(folder)
        path = folder / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path)

    return apply


def written(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-50])


def flipped(folder: Path) -> None:
    """One bit in the weights: the file is read without complaint."""
    path = folder / "online.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


COUNTERS = {"position": 4, "tflop_per_step": 1.0}
DAMAGE: dict[str, tuple[str, Change]] = {
    "moment-1": ("optimizer.pt: .*exp_avg: got", moments(exp_avg=torch.zeros(1))),
    "moment-2": ("optimizer.pt: .*exp_avg_sq: got", moments(exp_avg_sq=torch.zeros(2))),
    "moment-16": ("optimizer.pt: .*exp_avg: got", moments(exp_avg=torch.zeros(16))),
    "moment-none": ("optimizer.pt: .*exp_avg: got NoneType", moments(exp_avg=None)),
    "moment-extra": ("optimizer.pt: .*other names", moments(more=torch.zeros(1))),
    "step-negative": ("optimizer.pt: .*step -5", moments(step=torch.tensor(-5.0))),
    "step-half": ("optimizer.pt: .*step 1.5", moments(step=torch.tensor(1.5))),
    "step-many": ("optimizer.pt: .*step 1e\\+30", moments(step=torch.tensor(1e30))),
    "step-number": ("optimizer.pt: .*step: got int", moments(step=2)),
    "optimizer-empty": ("optimizer.pt: got dict", optimizer(lambda o: {})),
    "optimizer-list": ("optimizer.pt: got list", optimizer(lambda o: [])),
    "one-moment": ("optimizer.pt: got the state of", optimizer(lambda o: {**o, "state": {0: o["state"][0]}})),
    "groups": ("optimizer.pt: got other param_groups", optimizer(lambda o: {**o, "param_groups": []})),
    "betas": (
        "another `betas`",
        optimizer(lambda o: {**o, "param_groups": [{**g, "betas": "ab"} for g in o["param_groups"]]}),
    ),
    "optimizer-cut": ("optimizer.pt: got .* bytes", cut("optimizer.pt")),
    "online-cut": ("online.safetensors: got .* bytes", cut("online.safetensors")),
    "online-bit": ("online.safetensors: .*SHA-256", flipped),
    "online-gone": ("online.safetensors: there is", lambda f: (f / "online.safetensors").unlink()),
    "average-gone": ("average.safetensors: there is", lambda f: (f / "average.safetensors").unlink()),
    "online-one": (
        "online.safetensors: .*got",
        tensors("online", lambda t: {k: torch.zeros(1) for k in t}),
    ),
    "online-half": (
        "online.safetensors: .*float16",
        tensors("online", lambda t: {k: v.half() for k, v in t.items()}),
    ),
    "online-nan": (
        "online.safetensors: .*finite",
        tensors("online", lambda t: {k: v * torch.nan for k, v in t.items()}),
    ),
    "average-inf": (
        "average.safetensors: .*finite",
        tensors("average", lambda t: {k: v + torch.inf for k, v in t.items()}),
    ),
    "online-lacks": ("online.safetensors: .*missing", tensors("online", lambda t: dict(list(t.items())[1:]))),
    "online-more": (
        "online.safetensors: got 1 tensors",
        tensors("online", lambda t: {**t, "x": torch.ones(1)}),
    ),
    "state-list": ("state.json: got list", written("state.json", b"[]")),
    "state-deep": ("state.json: ", written("state.json", b"[" * 100_000)),
    "state-byte": ("state.json: ", written("state.json", b"\xff{}")),
    "state-digits": ("state.json: ", written("state.json", b'{"step": ' + b"1" * 5000 + b"}")),
    "no-step": ("state.json: got step None", state_json(step=None)),
    "text-step": ("state.json: got step '2'", state_json(step="2")),
    "minus-step": ("state.json: got step -5", state_json(step=-5)),
    "large-step": ("state.json: got step 1", state_json(step=10**30)),
    "half-step": ("state.json: got step 2.5", state_json(step=2.5)),
    "list-step": (r"state.json: got step \[2\]", state_json(step=[2])),
    "other-step": ("state.json: got step 1 in", state_json(step=1)),
    "no-counters": ("state.json: got no", state_json(counters=None)),
    "empty-counters": ("state.json: got counters.position", state_json(counters={})),
    "nan-position": ("counters.position nan", state_json(counters={**COUNTERS, "position": float("nan")})),
    "huge-position": ("counters.position 1", state_json(counters={**COUNTERS, "position": 10**400})),
    "minus-tflop": ("counters.tflop", state_json(counters={**COUNTERS, "tflop_per_step": -1})),
    "left-out": ("counters.left_out", state_json(counters={**COUNTERS, "left_out": 3})),
    "files-list": ("state.json: got files", state_json(files=[])),
    "files-else": ("state.json: got files", state_json(files={"../x": {"size": 1, "sha256": ""}})),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_passed_over_by_name(
    name: str, trainer: Trainer, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told, change = DAMAGE[name]
    change(out / "checkpoints" / "step_00000002")
    before = {key: p.detach().clone() for key, p in trainer.params.items()}
    with caplog.at_level(logging.WARNING):
        found = newest(out, trainer)
    assert found is not None
    assert found[0].name == "step_00000001"
    assert "passed over" in caplog.text
    assert re.search(told, caplog.text), caplog.text
    assert all(torch.equal(p.detach(), before[key]) for key, p in trainer.params.items())


def test_where_none_is_whole_the_run_does_not_start_anew(trainer: Trainer, out: Path) -> None:
    for folder in (out / "checkpoints").iterdir():
        flipped(folder)
    with pytest.raises(
        ConfigError, match=r"unreadable checkpoint .*step_00000002.*SHA-256.*Remove that folder"
    ):
        newest(out, trainer)
    with pytest.raises(ConfigError, match="unreadable checkpoint"):
        export_run(out, out / "export")


def test_a_checkpoint_without_digests_is_the_same(trainer: Trainer, out: Path) -> None:
    with_seals = newest(out, trainer)
    for folder in (out / "checkpoints").iterdir():
        unsealed(folder)
    without = newest(out, trainer)
    assert with_seals is not None
    assert without is not None
    a, b = with_seals[1], without[1]
    assert (a.step, a.online.keys(), a.fingerprint) == (b.step, b.online.keys(), b.fingerprint)
    again = trainer_of(trainer.config.model_copy(update={"out": out}))
    assert again.step == 2
    for name, parameter in trainer.params.items():
        assert torch.equal(parameter.detach(), again.params[name].detach())
    own, resumed = trainer.optimizer.state_dict(), again.optimizer.state_dict()
    assert own["param_groups"] == resumed["param_groups"]
    for i, values in own["state"].items():
        assert all(torch.equal(value, resumed["state"][i][key]) for key, value in values.items())


def test_a_checkpoint_that_was_passed_over_pushes_out_none_that_is_good(trainer: Trainer, out: Path) -> None:
    flipped(out / "checkpoints" / "step_00000002")
    found = newest(out, trainer)
    assert found is not None
    checkpoint.save(out, found[1], keep=1)
    assert newest(out, trainer) is not None


def test_nothing_that_is_not_finite_is_saved_or_exported(trainer: Trainer, out: Path) -> None:
    health = Health(out, trainer.params)
    state = trainer.state()
    health.check_state(state)
    for name in ("online", "average"):
        bad = {key: value.clone() for key, value in getattr(state, name).items()}
        next(iter(bad.values())).view(-1)[0] = torch.nan
        worse = checkpoint.State(**{**vars(state), name: bad})
        with pytest.raises(FloatingPointError, match=rf"{name} at step 2 .*last good.*step_00000002"):
            health.check_state(worse)
    folder = out / "checkpoints" / "step_00000002"
    for name, number in (("average", torch.nan), ("average", 1e6)):
        tensors(name, lambda t, n=number: {k: v * 0 + n for k, v in t.items()})(folder)
        with pytest.raises((ConfigError, FloatingPointError), match="not finite.*Nothing is exported"):
            export_run(out, out / "none")
    assert not list(out.glob("none/*"))


def test_weights_that_an_update_broke_end_the_run(trainer: Trainer, out: Path) -> None:
    weights = {"a": torch.ones(3)}
    health = Health(out, weights)
    assert health.look_at(torch.tensor(2.5), 0) == (2.5, True)
    health.updated()
    assert health.look_at(torch.tensor(0.5), 1) == (0.5, True)
    weights["a"][1] = torch.inf
    health.updated()
    with pytest.raises(FloatingPointError, match="weights that are not finite after update 2.*step_00000002"):
        health.look_at(torch.tensor(torch.nan), 2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_is_enough(value: float) -> None:
    good = {"a": torch.randn(70, 9), "b": torch.zeros(0), "c": torch.tensor(1.0, dtype=torch.float64)}
    assert bool(all_finite(good))
    for name in ("a", "c"):
        bad = {k: v.clone() for k, v in good.items()}
        bad[name].view(-1)[-1] = value
        assert not bool(all_finite(bad))


def test_a_run_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(tmp_path, {})
    health.account(10)
    assert not capsys.readouterr().err
    assert not health.look_at(torch.tensor(torch.nan), 0)[1]
    health.account(10)
    assert "1 of 10 updates were left out" in capsys.readouterr().err
    with pytest.raises(FloatingPointError, match="1 of 1 updates were left out.*Nothing is exported"):
        health.account(1)
