"""`eval`: clips from exported weights and what is measured of them, with the small world's shipped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.data_files import video_folder
from tests.support.small_run import CHECKPOINT, MOTION, config_of
from training.__main__ import main
from training.commands.eval import parser, plan_of
from training.config import ConfigError, as_yaml
from training.data.errors import DataError
from training.data.media import read_clip
from training.eval import plan
from training.eval.captions import read_captions
from training.eval.clipsim import load_clip
from training.eval.rows import cached_rows
from training.eval.videos import read_about, write_video
from training.pipeline import Conditions, Sampling
from training.randomness import sample_generator
from training.small_world.measure import evaluation
from training.small_world.world import judge
from training.small_world.world.clips import draw, sample_clips

CAPTIONS = ["a red fish swimming left", "a blue crab sleeping"]
SMALL = ["--variant", "shapes", "--checkpoint", str(CHECKPOINT), "--motion", str(MOTION)]


def run(to: Path, *more: str) -> int:
    """Two clips of the small world on the CPU."""
    fast = ["--device", "cpu", "--clips", "2", "--real-clips", "8"]
    return main(["eval", *SMALL, "--to", str(to), *fast, *more])


def real_world(clips: int) -> Tensor:
    """(n, f, 3, 64, 64) in 0..1."""
    return draw(sample_clips(clips, sample_generator(5, 0)))


def test_the_command_end_to_end_and_again_after_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    prompts = tmp_path / "captions.txt"
    prompts.write_text("\n".join(CAPTIONS) + "\n\n", encoding="utf-8")
    to, more = tmp_path / "out", ("--prompts", str(prompts), "--steps", "2")
    write, written = plan.write_video, []

    def cut(path: Path, *rest: Any) -> Path:
        if written:
            raise KeyboardInterrupt
        written.append(write(path, *rest))
        return path

    monkeypatch.setattr(plan, "write_video", cut)
    with pytest.raises(KeyboardInterrupt):
        run(to, *more)
    monkeypatch.setattr(plan, "write_video", write)
    before = written[0].read_bytes()
    assert run(to, *more) == 0
    assert "2/2 steps 2 clip 1" in capsys.readouterr().out
    assert written[0].read_bytes() == before
    results = json.loads((to / "results.json").read_text())
    (row,) = results["rows"]
    assert (row["method"], row["steps"], row["clips"], row["guidance"]) == ("lcm", 2, 2, 1.0)
    assert row["seconds_per_clip"] > 0
    for key in ("colour", "shape", "motion", "all_right", "frechet", "caption_agreement"):
        assert len(row[f"{key}_interval95"]) == 2
    assert results["settings"]["files"]["motion"]["name"] == MOTION.name
    assert str(tmp_path) not in (to / "results.json").read_text()
    assert (to / "steps_2.png").is_file()
    assert not list(to.rglob("*.part"))
    assert read_about(to / "steps_2" / "00001.mp4")["caption"] == CAPTIONS[1]

    monkeypatch.setattr(plan.Pipeline, "load", None)  # nothing is missing: no network is needed
    assert run(to, *more) == 0
    assert run(to, *more, "--seed", "1") == 1
    assert "Use a new folder for --to" in capsys.readouterr().err


class Recorder:
    """Keeps what it is asked for and shows black clips."""

    def __init__(self) -> None:
        self.captions: list[str] = []
        self.noises: list[Tensor] = []

    def sample(
        self, conditions: Conditions, noise: Tensor, _sampling: Sampling, _generator: torch.Generator
    ) -> Tensor:
        self.captions += conditions.captions
        self.noises.append(noise)
        return torch.zeros(1, 2, 3, 64, 64)


def test_clips_repeat_captions_with_new_noise_and_methods_share_it(tmp_path: Path):
    pipeline = Recorder()
    prompts = tmp_path / "captions.csv"
    prompts.write_text("id,caption\n" + "".join(f"1,{c}\n" for c in CAPTIONS), encoding="utf-8")
    ask = [*SMALL, "--prompts", str(prompts), "--clips", "4", "--frames", "2", "--to", str(tmp_path)]
    for method in ("lcm", "ddim"):
        made = plan_of(parser().parse_args([*ask, "--method", method]))
        for number in range(4):
            clip = number, tmp_path / method / f"{number}.mp4"
            plan.sample_clip(made, pipeline, 1, clip, torch.device("cpu"))  # type: ignore[arg-type]
    noises = pipeline.noises
    assert pipeline.captions == [*CAPTIONS[:2]] * 4
    assert not torch.equal(noises[0], noises[2])
    assert all(torch.equal(noises[i], noises[i + 4]) for i in range(4))


def test_a_run_is_evaluated_by_its_own_files(tmp_path: Path):
    config = config_of("video", tmp_path, base={"lora": CHECKPOINT})
    (config.out / "export").mkdir(parents=True)
    (config.out / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    ask = ["--run", str(config.out), "--to", str(tmp_path / "to")]
    with pytest.raises(ConfigError, match="training export --run"):
        plan_of(parser().parse_args(ask))
    exported = config.out / "export" / "tiny_video.safetensors"
    exported.write_bytes(b"")
    made = plan_of(parser().parse_args(ask))
    assert (made.base.motion, made.base.lora) == (exported, CHECKPOINT)
    assert (made.clips, made.size, made.frames) == (90, (64, 64), 16)
    own = config.out / "export" / "tiny_video_lora.safetensors"
    own.write_bytes(b"")
    assert plan_of(parser().parse_args(ask)).base.lora == own
    assert plan_of(parser().parse_args([*ask, "--motion", str(MOTION)])).base.motion == MOTION


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--motion", "missing.safetensors"], "got missing.safetensors; expected an existing file"),
        (["--motion", str(CHECKPOINT)], CHECKPOINT.name),
        (["--lora", str(MOTION)], MOTION.name),
        (["--prompts", "missing.txt"], "missing.txt"),
        (["--method", "dpm++", "--spacing", "simple"], "expected an undistilled"),
        (["--spacing", "leading"], "expected simple"),
        (["--size", "128", "128"], "expected 64 64"),
        (["--clip", "missing"], "Nothing is downloaded"),
        (["--i3d", "missing.pt"], "expected both"),
    ],
)
def test_what_cannot_be_is_said_in_a_message(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(tmp_path, *more) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_run_of_stage_three_is_told(tmp_path: Path):
    config = config_of("adapter", tmp_path, adapter={"kind": "t2i_adapter"})
    config.out.mkdir(parents=True)
    (config.out / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    with pytest.raises(ConfigError, match="of stage adapter; expected image or video"):
        plan_of(parser().parse_args(["--run", str(config.out), "--to", str(tmp_path / "to")]))


def test_captions_of_files(tmp_path: Path):
    table = tmp_path / "list.csv"
    table.write_text('name\n"one,  two"\n""\n', encoding="utf-8")
    assert read_captions(table, "name") == ["one, two"]
    with pytest.raises(DataError, match="got the columns name"):
        read_captions(table)
    with pytest.raises(ConfigError, match="got the caption 'a dog'"):
        evaluation.labels_of(["a red fish sleeping", "a dog"])


@pytest.mark.parametrize("codec", [None, "mpeg4"])
def test_videos_are_almost_lossless_and_the_judge_reads_them(codec: str | None, tmp_path: Path):
    net, clips = judge.load(evaluation.JUDGE), real_world(3)
    paths = [write_video(tmp_path / f"{i}.mp4", clip, {}, codec) for i, clip in enumerate(clips)]
    back = torch.stack([read_clip(path, 16, 1, (64, 64), 0.0) for path in paths]).float() / 255
    decibel = -10 * (back - clips).square().mean().log10()
    assert decibel > (45 if codec is None else 30)
    before, after = judge.read(clips, net), judge.read(back, net)
    for name in ("body", "colour", "motion"):
        assert torch.equal(getattr(before, name), getattr(after, name))
    with pytest.raises(DataError, match="start the same command again"):
        read_about(video_folder(tmp_path / "other", 1) / "a.mp4")


def test_rows_are_kept(tmp_path: Path):
    asked: list[int] = []

    def compute(number: int) -> Tensor:
        asked.append(number)
        return torch.tensor([float(number), 1.0])

    assert cached_rows(tmp_path, 3, compute, part=2)[:, 0].tolist() == [0, 1, 2]
    assert cached_rows(tmp_path, 5, compute, part=2)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert asked == [0, 1, 2, 2, 3, 4]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel of random weights whose tokenizer knows the small world's words, letter by letter."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**text, "max_position_embeddings": 40},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_clipsim_is_the_mean_over_frames(clip_folder: Path, tmp_path: Path):
    to = tmp_path / "out"
    assert run(to, "--steps", "1", "--frames", "9", "--clip", str(clip_folder)) == 0
    results = json.loads((to / "results.json").read_text())
    low, high = results["rows"][0]["clipsim_interval95"]
    clip, captions = load_clip(clip_folder), evaluation.all_captions()
    each = [
        clip.similarity(captions[i], read_clip(to / "steps_1" / f"0000{i}.mp4", 9, 1, (32, 32), 0.0))
        for i in range(2)
    ]
    assert each[0].shape == (9,)
    assert results["rows"][0]["clipsim"] == pytest.approx(float(torch.cat(each).mean()), abs=1e-3)
    assert low <= results["rows"][0]["clipsim"] <= high
    again = clip.similarity("x" * 200, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))  # cut to what CLIP reads
    assert -100 <= float(again) <= 100


def test_similarity_is_what_the_model_itself_says(clip_folder: Path):
    """100 cos is CLIP's own logit but for its learned temperature."""
    clip = load_clip(clip_folder)
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    tokens = clip.tokenizer([CAPTIONS[0]], return_tensors="pt")
    assert tokens["input_ids"][0, -1] == 53  # the end token is there
    with torch.inference_mode():
        out = clip.model(pixel_values=(pixels / 255 - mean) / std, **tokens)
    own = out.logits_per_text[0] / clip.model.logit_scale.exp() * 100
    assert torch.allclose(clip.similarity(CAPTIONS[0], pixels), own, atol=1e-3)
