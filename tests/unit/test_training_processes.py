"""Several processes of `accelerate launch` train what one process with their batches together trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.support.small_run import config_of, trainer_of, write_adapter, write_lora
from training import checkpoint
from training.commands.common import STOPPED
from training.config import as_yaml

ROOT = Path(__file__).resolve().parents[2]
WAIT = 900  # seconds: what should take one in sixty of that, on a machine that is busy
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and gloo as on Linux and macOS"),
]
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("video", {"gradient_checkpointing": True, "batch": {"size": 1, "accumulate": 2}}),
    "without_decouple": ("video", {"arm": "without_decouple", "base": {"lora": None}}),
    "image": ("image", {"mu": 0.9}),
    "encoder": ("image-to-video", {"image_encoder": {"motion": True}}),
    "control": ("control", {"control": {"kind": "controlnet", "adapter": "controlnet.safetensors"}}),
    "adapter": ("adapter", {"adapter": {"kind": "t2i_adapter", "snr": [0.1, 5.0]}}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("processes")
    write_lora(out / "lora.safetensors")
    write_adapter(out / "controlnet.safetensors", "controlnet")
    return out


def arm(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Stage and changes of one of ARMS, its adapter in `folder`."""
    stage, changes = ARMS[name]
    section = changes.get("control", {})
    if "adapter" in section:
        changes = {**changes, "control": {**section, "adapter": folder / section["adapter"]}}
    return stage, changes


@contextmanager
def launched_with(folder: Path, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes of one thread on the CPU. `--cpu` would start one: that is accelerate's way to MPI."""
    env = {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder),
    }
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", "-m", module, *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    launcher = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, **pipes)
    try:
        yield launcher
    finally:
        if launcher.poll() is None:  # the test failed: leave nobody behind
            for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
                process.kill()


def write_config(path: Path, stage: str, folder: Path, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_yaml(config_of(stage, folder, **changes)), encoding="utf-8")
    return path


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def launched(folder: Path) -> Path:
    """All arms, one after the other, by one launch: starting two processes is what takes long."""
    configs = []
    for name in ARMS:
        stage, changes = arm(name, folder)
        path = folder / "configs" / f"{name}.yaml"
        configs += [stage, str(write_config(path, stage, folder, out=folder / "two" / name, **changes))]
    with launched_with(folder, "tests.support.several_runs", *configs) as launcher:
        output, _ = launcher.communicate(timeout=WAIT)
    assert launcher.returncode == 0, output
    return folder / "two"


@pytest.mark.parametrize("name", list(ARMS))
def test_two_processes_train_what_one_with_twice_the_batch_trains(name: str, launched: Path, folder: Path):
    stage, changes = arm(name, folder)
    batch = {"size": 2, **changes.get("batch", {})}
    batch["size"] *= 2
    one = trainer_of(config_of(stage, folder, **{**changes, "out": folder / "one" / name, "batch": batch}))
    start = {key: parameter.detach().clone() for key, parameter in one.params.items()}
    one.run()
    (newest,) = checkpoint.list_checkpoints(launched / name)[-1:]
    assert newest.name == "step_00000004"
    two = load_file(newest / "online.safetensors")
    assert two.keys() == one.params.keys()
    assert_same_run(two, {key: parameter.detach() for key, parameter in one.params.items()}, start)
    assert_same_log(rows_of(launched / name), rows_of(folder / "one" / name))


def assert_same_run(a: dict[str, Tensor], b: dict[str, Tensor], start: dict[str, Tensor]) -> None:
    """Apart by 5 thousandths of what was learned, and by 5 hundredths in any one tensor.

    Adam divides by its gradients' size: tiny ones, as a new LoRA has, bring the last bits of the sums up.
    Other samples, or other weights of them, would be apart by all that was learned.
    """
    apart = {key: float((a[key] - b[key]).abs().sum()) for key in a}
    learned = {key: float((b[key] - start[key]).abs().sum()) for key in a}
    assert sum(apart.values()) < 5e-3 * sum(learned.values())
    assert {key for key in a if apart[key] >= 5e-2 * learned[key]} == set()


def assert_same_log(two: list[dict[str, float]], one: list[dict[str, float]]) -> None:
    """One row a step, of both processes' samples: losses, gradients and counted arithmetic."""
    assert [row["step"] for row in two] == [1, 2, 3, 4]
    for a, b in zip(two, one, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"clips_per_second", "data_wait", "tflops_per_second"}:
            assert a[key] == pytest.approx(b[key], rel=1e-2), (a["step"], key)


def test_only_the_main_process_writes(launched: Path):
    for name, (stage, _) in ARMS.items():
        run = launched / name
        assert [p.name for p in checkpoint.list_checkpoints(run)] == ["step_00000002", "step_00000004"]
        assert len(list((run / "tensorboard").iterdir())) == 1
        assert yaml.safe_load((run / "config.yaml").read_text())["stage"] == stage
        assert any((run / "export").iterdir())


@pytest.mark.parametrize("to", ["one process", "launcher"])
def test_a_signal_leaves_a_whole_checkpoint_and_says_that_the_run_can_go_on(
    to: str, folder: Path, tmp_path: Path
):
    run = tmp_path / "run"
    changes = {"out": run, "steps": 5000, "save_every": 5000}
    path = write_config(tmp_path / "run.yaml", "video", folder, **changes)
    with launched_with(folder, "training", "video", "--config", str(path)) as launcher:
        wait_for_a_row(run, launcher)
        workers = psutil.Process(launcher.pid).children()
        assert len(workers) == 2
        (launcher if to == "launcher" else workers[1]).send_signal(signal.SIGTERM)
        output, _ = launcher.communicate(timeout=WAIT)
    (saved,) = checkpoint.list_checkpoints(run)
    state = checkpoint.load(saved)
    assert f"stopped at step {state.step} of 5000; the same command resumes it" in output
    assert launcher.returncode != 0
    if to == "one process":  # the launcher ends with its own code and tells that of the first to leave
        assert f"exitcode  : {STOPPED} " in output
    resumed = trainer_of(config_of("video", folder, **changes, batch={"size": 4}))
    assert resumed.step == state.step
    assert resumed.loader.position == 4 * state.step  # two clips a process


def wait_for_a_row(run: Path, launcher: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT
    while not ((run / "metrics.jsonl").exists() and rows_of(run)):
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_signal_to_the_whole_group_saves_though_data_workers_get_it_too(folder: Path, tmp_path: Path):
    """Ctrl-C in a terminal, or a scheduler: if workers died of it the run would end without a checkpoint."""
    run = tmp_path / "run"
    changes = {"out": run, "steps": 5000, "save_every": 5000, "batch": {"workers": 2}}
    path = write_config(tmp_path / "run.yaml", "image", folder, **changes)
    command = [sys.executable, "-m", "training", "image", "--config", str(path)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    one = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
    try:
        wait_for_a_row(run, one)
        os.killpg(one.pid, signal.SIGINT)
        output, _ = one.communicate(timeout=WAIT)
    finally:
        one.kill()
    assert one.returncode == STOPPED, output
    assert len(checkpoint.list_checkpoints(run)) == 1
