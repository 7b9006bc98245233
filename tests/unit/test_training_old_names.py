"""Config files, `--set` paths and commands of the release before: read as what they are now."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training import old_names
from training.__main__ import main
from training.config import fingerprint, fingerprints
from training.config_file import ConfigError
from training.runs import CONFIGS, parse_run
from training.stages.control import ControlConfig

OLD = Path(__file__).parent / "old_configs"
FINGERPRINTS = {  # what checkpoints of these files held, one process
    "sd15_controlnet_lora": "aa0448c23be06217",
    "sd15_i2v": "9d0914ed0cb850f7",
    "sd15_image_lora": "65fac14c4c1937a4",
    "sd15_t2i_adapter_lora": "1d086491e41c98ad",
    "sd15_video": "94afd71a04e50f74",
    "shapes_control": "eb2482a997d56e60",
    "shapes_controlnet": "f205c160cf73d396",
    "shapes_controlnet_lora": "489856436311b424",
    "shapes_i2v": "fb273d27d1fcb81f",
    "shapes_image": "2c228750abc4e3d7",
    "shapes_t2i_adapter": "df29f946fd98f464",
    "shapes_t2i_adapter_more": "de5fb8d4ca3212d1",
    "shapes_video": "c4b9157762fe9c9e",
}
CHANGES = {  # old --set -> new one, and a config that has it
    "optim.rate=0.5": ("optim.lr=0.5", "shapes_video"),
    "optim.clip=0.5": ("optim.max_grad_norm=0.5", "shapes_video"),
    "average=0.5": ("ema_decay=0.5", "shapes_video"),
    "adapter.drop=0.5": ("adapter.caption_dropout=0.5", "shapes_controlnet"),
    "adapt.reading=pixels": ("image_encoder.reading=pixels", "shapes_i2v"),
    "adapt.motion=false": ("image_encoder.motion=false", "shapes_i2v"),
    "adapt.motion_rate=0.3": ("image_encoder.motion_rate=0.3", "shapes_i2v"),
    "adapt.motion_scale=0.3": ("image_encoder.motion_scale=0.3", "shapes_i2v"),
    "adapt.stills=0.3": ("image_encoder.static_share=0.3", "shapes_i2v"),
    "adapt.adapter=other": ("control.adapter=other", "shapes_control"),
    "adapt.hint.mode=soft": ("control.hint.mode=soft", "shapes_control"),
    "adapt.hint={mode: soft}": ("control.hint={mode: soft}", "shapes_control"),
    "adapt.kind=controlnet_lora": ("control.kind=controlnet", "shapes_control"),
    "optim={rate: 0.5}": ("optim={lr: 0.5}", "shapes_video"),
    "adapter={kind: controlnet, drop: 0.5}": (
        "adapter={kind: controlnet, caption_dropout: 0.5}",
        "shapes_controlnet",
    ),
    "adapt={kind: controlnet_lora, adapter: other}": (
        "control={kind: controlnet, adapter: other}",
        "shapes_control",
    ),
    "adapt={kind: image_encoder, stills: 0.5}": ("image_encoder={static_share: 0.5}", "shapes_i2v"),
    "adapt={kind: image_encoder}": ("image_encoder={}", "shapes_i2v"),
    "stage=adapt": ("stage=control", "shapes_control"),
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_an_old_file_is_the_same_run_and_resumes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    old = parse_run(OLD / f"{name}.yaml", files=False)
    told = capsys.readouterr().err.splitlines()
    assert told
    assert len(told) == len(set(told))
    new = parse_run(CONFIGS / f"{name}.yaml", files=False)
    assert capsys.readouterr().err == ""
    assert old == new
    assert FINGERPRINTS[name] in fingerprints(new, 1)
    assert FINGERPRINTS[name] not in fingerprints(new, 2)
    assert fingerprint(new, 1) in fingerprints(new, 1)


def test_every_old_file_and_key_is_tested() -> None:
    assert {path.stem for path in OLD.glob("*.yaml")} == FINGERPRINTS.keys()
    assert set(old_names.MOVED) <= {change.partition("=")[0] for change in CHANGES}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("folder", [OLD, CONFIGS], ids=["old", "new"])
def test_an_old_change_is_the_new_one(folder: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    new, name = CHANGES[change]
    expected = parse_run(CONFIGS / f"{name}.yaml", [new], files=False)
    assert capsys.readouterr().err == ""
    assert parse_run(folder / f"{name}.yaml", [change], files=False) == expected
    assert " is now " in capsys.readouterr().err
    assert expected != parse_run(CONFIGS / f"{name}.yaml", files=False) or change == "stage=adapt"


def test_each_old_key_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text((OLD / "shapes_t2i_adapter.yaml").read_text())
    (tmp_path / "b.yaml").write_text("extends: a.yaml\noptim: {rate: 1.0}\naverage: 0.5\n")
    parse_run(tmp_path / "b.yaml", ["optim.rate=2.0"], files=False)
    assert sorted(line.split()[0] for line in capsys.readouterr().err.splitlines()) == [
        "adapter.drop",
        "average",
        "optim.rate",
    ]


def test_an_old_file_may_extend_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text((CONFIGS / "shapes_control.yaml").read_text())
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nadapt: {hint: {mode: soft}}\n")
    config = parse_run(tmp_path / "b.yaml", files=False)
    assert isinstance(config, ControlConfig)
    assert (config.control.hint.mode, config.control.hint.low) == ("soft", 0.2)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nadapt: {kind: controlnet_lora, adapter: other}\n")
    config = parse_run(tmp_path / "b.yaml", files=False)
    assert isinstance(config, ControlConfig)  # another kind has none of the other's values
    assert (config.control.kind, config.control.hint.low) == ("controlnet", 0.4)


@pytest.mark.parametrize("kind", ["image_encoder", "controlnet_lora, adapter: other"])
def test_an_old_file_may_change_the_kind(kind: str, tmp_path: Path) -> None:
    for name in ("shapes_i2v", "shapes_control"):
        (tmp_path / "a.yaml").write_text((OLD / f"{name}.yaml").read_text())
        (tmp_path / "b.yaml").write_text(f"extends: a.yaml\nadapt: {{kind: {kind}}}\n")
        found = parse_run(tmp_path / "b.yaml", files=False)
        by_set = parse_run(OLD / f"{name}.yaml", [f"adapt={{kind: {kind}}}"], files=False)
        assert found.stage == by_set.stage == ("image-to-video" if kind == "image_encoder" else "control")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optim: {rate: 1, lr: 1}", r"got optim\.rate and optim\.lr in .*; expected optim\.lr alone"),
        ("average: 0\nema_decay: 0", "got average and ema_decay"),
        ("adapt: {kind: controlnet_lora}\ncontrol: {kind: controlnet}", r"got adapt\.kind and control\.kind"),
        ("adapt: {hint: {}}\ncontrol: {hint: {}}", r"got adapt\.hint and control\.hint"),
        ("adapt: {kind: image_encoder, stils: 1}", "adapt: Extra inputs are not permitted"),
        ("adapt: {kind: other}", "adapt: Extra inputs are not permitted"),
    ],
)
def test_what_is_not_clear_is_refused(text: str, told: str, tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / "shapes_video.yaml").read_text())
    values = {
        key: value for key, value in values.items() if key not in ("stage", "optim", "ema_decay", "arm")
    }
    (tmp_path / "a.yaml").write_text(f"{yaml.safe_dump(values)}\nstage: adapt\n{text}\n")
    with pytest.raises(ConfigError, match=told):
        parse_run(tmp_path / "a.yaml", files=False)


@pytest.mark.parametrize("folder", [OLD, CONFIGS], ids=["old", "new"])
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("shapes_control", "adapt.reading=pixels", "image_encoder: Extra inputs are not permitted"),
        ("shapes_control", "adapt.kind=image_encoder", "control: Extra inputs are not permitted"),
        ("shapes_i2v", "adapt.hint.kind=folder", "control: Extra inputs are not permitted"),
        ("shapes_i2v", "stage=video", "image_encoder: Extra inputs are not permitted"),
        ("shapes_video", "adapt.kind=image_encoder", "adapt: Extra inputs are not permitted"),
    ],
)
def test_a_value_that_the_stage_does_not_have_is_refused(
    folder: Path, name: str, change: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_run(folder / f"{name}.yaml", [change], files=False)


@pytest.mark.parametrize("name", ["shapes_i2v", "shapes_t2i_adapter"])
def test_the_old_command_says_the_new_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = main(["adapt", "--config", name, "--dry-run"])
    told = capsys.readouterr()
    if name == "shapes_i2v":
        assert done == 0
        assert told.err == "`adapt` is now `python -m training image-to-video`\n"
        assert "stage: image-to-video" in told.out
    else:
        assert done == 1
        assert "for stage adapter; expected one for image-to-video or control" in told.err
