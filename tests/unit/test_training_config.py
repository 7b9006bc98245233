"""Config files of the trainer: what is read, what is refused and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import __main__ as command_line
from training.config import fingerprint
from training.config_file import ConfigError, read_extended
from training.runs import CONFIGS, parse_run, read_config
from training.stages import STAGES

SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if not path.name.startswith("accelerate"))
SMALL = CONFIGS / "shapes_image.yaml"


def run(*changes: str):
    return parse_run(SMALL, list(changes), files=False)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_a_run(path: Path) -> None:
    config = parse_run(path, files=False)
    assert config.name == path.stem
    assert isinstance(config, STAGES[config.stage].Config)


def test_a_stage_has_one_name() -> None:
    """In the registry, in configs, and in what the command line says of itself."""
    for name, stage in STAGES.items():
        assert stage.name == name == stage.Config.model_fields["stage"].default
        assert f"\n{name} " in str(command_line.__doc__)


def test_an_unknown_command_is_told(capsys):
    assert command_line.main(["vidoe", "--config", "sd15_video"]) == 2
    assert "got vidoe; expected a command of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("shapes_video", "motion", "the teacher's motion weights"),
        ("shapes_video", "lora", "the image stage's LoRA for arm paper"),
        ("shapes_i2v", "motion", "distilled motion weights"),
        ("shapes_control", "lora", "the LCM LoRA"),
    ],
)
def test_a_stage_names_the_file_that_it_needs(name: str, file: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"got no base\.{file}; expected {told}"):
        parse_run(CONFIGS / f"{name}.yaml", [f"base.{file}=null"], files=False)


def test_files_are_wanted_unless_said_otherwise() -> None:
    with pytest.raises(ConfigError, match=r"base\.checkpoint: .*got none.*expected an existing file"):
        parse_run(SMALL, ["base.checkpoint=none"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("optim.rat=1", r"optim\.rat: Extra inputs are not permitted"),
        ("steps=-1", r"steps: .*greater than"),
        ("batch.size=many", r"batch\.size: .*integer"),
        ("solver.steps=7", r"solver"),
        ("steps", r"got --set steps; expected a\.b=value"),
        ("=3", r"got --set =3; expected a\.b=value"),
        ("steps.more=1", r"got --set steps\.more=1; steps is a value, not a section"),
        ("steps=[1", r"got --set steps=\[1; expected valid YAML"),
        ("base.variant=tiny", r"base\.variant: .*got variant tiny; expected sd15 or shapes"),
        ("stage=film", r"got stage film .*expected image or video"),
    ],
)
def test_a_wrong_change_is_told(change: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        run(change)


def test_a_change_is_yaml_and_takes_numbers_as_people_write_them() -> None:
    assert run("optim.lr=1e-5").optim.lr == 1e-5
    assert run("samples.prompts=[a, b]").samples.prompts == ("a", "b")


def test_a_config_of_another_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="an existing file|for stage image; expected one for video"):
        read_config(("video",), SMALL)


def test_extends_takes_the_other_file_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optim: {lr: 1, warmup: 2}\ncontrol: {kind: x, old: 1}\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\noptim: {lr: 3}\ncontrol: {kind: y}\n")
    assert read_extended(tmp_path / "b.yaml") == {"optim": {"lr": 3, "warmup": 2}, "control": {"kind": "y"}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: ../other.yaml\n", "another file of the same folder"),
        ("extends: b.yaml\n", "another file of the same folder"),
        ("extends: missing.yaml\n", "expected a readable text file"),
        ("a: [1\n", "expected valid YAML"),
        ("words\n", "expected keys and values"),
        ("a: !!python/object/apply:os.getcwd []\n", "expected valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_extended(tmp_path / "b.yaml")


def test_a_run_goes_on_after_changes_that_learn_nothing_else() -> None:
    same = fingerprint(run(), 1)
    for change in ("out=elsewhere", "steps=9", "save_every=3", "samples.prompts=[]"):
        assert fingerprint(run(change), 1) == same
    size = run().batch.size
    assert fingerprint(run("batch.size=1", f"batch.accumulate={size}"), 1) == same
    for change in ("optim.lr=0.5", "seed=7", "mu=0.5"):
        assert fingerprint(run(change), 1) != same
