"""Configs of strangers: what no run can have is told in one message, in bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from training.bounded_yaml import MAX_BYTES, UnusableYaml, load
from training.commands.common import run_reporting_errors
from training.config import as_yaml
from training.config_file import ConfigError, parse
from training.data.errors import DataError
from training.locks import sole_writer
from training.runs import CONFIGS, parse_run
from training.small_world.world.words import tokenize

SMALL = CONFIGS / "shapes_image.yaml"
ALIASES = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
BAD_YAML = {
    "lists": "[" * 3000,
    "closed": "[" * 3000 + "]" * 3000,
    "maps": "{a: " * 3000 + "1" + "}" * 3000,
    "indented": "\n".join(" " * i + "a:" for i in range(600)),
    "lines": "- " * 2000 + "1",
    "month": "a: 2020-13-45",
    "int": "a: !!int abc",
    "float": "a: !!float abc",
    "bool": "a: !!bool abc",
    "timestamp": "a: !!timestamp abc",
    "digits": "a: " + "1" * 5000,
    "hexadecimal": "a: 0x" + "f" * 5000,
    "sixties": "a: 1" + ":59" * 5000,
    "large": "a: " + "1" * 300,
    "twice": "steps: 1\nsteps: 2",
    "twice below": "optim: {lr: 1, lr: 2}",
    "python": "a: !!python/object/apply:os.system [ls]",
    "aliases": ALIASES,
    "itself": "a: &a [*a]",
    "zero byte": 'a: "x\\0y"',
    "list key": "? [1, 2]\n: 3",
    "no anchor": "a: *" + "b" * 5000,
    "two": "a: 1\n---\nb: 2",
    "size": "#" * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_a_yaml_beyond_use_is_refused_shortly_and_soon(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(BAD_YAML[name])
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"run\.yaml") as told:
        parse(path)
    assert time.process_time() - began < 5
    assert len(str(told.value)) < 1000 + len(str(path))
    assert str(told.value).isprintable()


def test_a_key_that_is_there_twice_is_named() -> None:
    with pytest.raises(UnusableYaml, match="the key 'lr' is there twice"):
        load("optim: {lr: 1, lr: 2}")
    assert load("a: &a {x: 1}\nb: {<<: *a, x: 2}") == {"a": {"x": 1}, "b": {"x": 2}}
    late = "a: &a {x: 1}\nb: {c: {d: &d {<<: *a, x: 2}}}\ne: {<<: *d}"
    assert load(late) == yaml.safe_load(late)


@pytest.mark.parametrize(
    "change",
    [
        "stage=[image]",
        "stage={a: 1}",
        "out=''",
        "data.path=' '",
        'out="a\\0b"',
        "lora.rank=100000000",
        "lora.rank=0",
        "lora.alpha=.inf",
        "lora.alpha=.nan",
        "batch.size=100000000000",
        "batch.workers=100000",
        "batch.accumulate=1e22",
        "seed=1e23",
        "seed=-1",
        "steps=1e30",
        "optim.rate=.inf",
        "optim.lr=.nan",
        "optim.betas=[0.9, 1.5]",
        "optim.betas=[.nan, 0.9]",
        "optim.betas=[-0.1, 0.9]",
        "optim.weight_decay=.inf",
        "optim.max_grad_norm=.inf",
        "solver.guidance=[1, .inf]",
        "solver.guidance=[.nan, 2]",
        "loss.huber_c=.inf",
        "loss.gamma=.nan",
        "mu=.nan",
        "ema_decay=.nan",
        "samples.steps=[0]",
        "samples.size=[0, 0]",
        "samples.frames=1e9",
        "samples.seed=1e30",
        "seed=" + "9" * 5000,
        "a" + ".a" * 3000 + "=1",
        "steps=2020-13-45",
        "steps=" + "[" * 3000,
    ],
)
def test_a_number_or_name_that_no_run_has_is_told(change: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_run(SMALL, [change], files=False)
    assert len(str(told.value)) < 2000


def test_an_open_limit_of_snr_stays_open() -> None:
    path = CONFIGS / "shapes_t2i_adapter.yaml"
    config = parse_run(path, ["adapter.snr=[0, .inf]"], files=False)
    assert "- .inf" in as_yaml(config)
    for wrong in ("[.nan, 1]", "[0, .nan]", "[5, 1]", "[-1, 1]", "[.inf, .inf]"):
        with pytest.raises(ConfigError, match=r"adapter"):
            parse_run(path, [f"adapter.snr={wrong}"], files=False)


def test_extends_leads_to_a_file_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for parent in ("[a, b]", "{a: 1}", "''", "../x.yaml", "run.yaml", "a" * 5000, "1"):
        path.write_text(f"extends: {parent}\n")
        with pytest.raises(ConfigError):
            parse_run(path, files=False)
    for i in range(40):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    with pytest.raises(ConfigError, match=r"got extends: 1\d\.yaml"):
        parse_run(tmp_path / "0.yaml", files=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="a named pipe"):
        parse(tmp_path / "run.yaml")


def test_what_nobody_foresaw_is_one_line_and_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> int:
        raise KeyError("some\x1b[1m\nname" * 500)

    assert run_reporting_errors(fail, "run.yaml") == 1
    told = capsys.readouterr().err
    assert told.startswith("error: got KeyError: ")
    assert "run.yaml" in told
    assert "Traceback" not in told
    assert told.count("\n") == 1
    assert "\x1b" not in told
    (log,) = tmp_path.glob("animatelcm-*.log")
    assert "Traceback" in log.read_text()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    out = tmp_path / "run"
    other = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
    command = [sys.executable, "-c", other, str(out / ".lock")]
    with sole_writer(out, "training"):
        with pytest.raises(ConfigError, match="another process is training"), sole_writer(out, "training"):
            pass
        assert "Timeout" in subprocess.run(command, capture_output=True, text=True).stderr
    assert subprocess.run(command).returncode == 0  # it is free again
    with pytest.raises(RuntimeError, match="no"), sole_writer(tmp_path / "new", "training"):
        raise RuntimeError("no")
    assert not (tmp_path / "new").exists()


def test_words_that_the_small_world_does_not_know_are_listed() -> None:
    with pytest.raises(DataError, match=r"'dragon', 'dusk'; expected a, red"):
        tokenize(["a dragon", "a red fish", "dusk"])
    with pytest.raises(DataError, match="a caption of 76 words"):
        tokenize(["a " * 76])
