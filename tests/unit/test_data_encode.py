"""Encoding: what is interrupted is resumed, what is skipped is counted, real clips become batches."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch
from data_files import TinyEncoder, real_videos, video_folder
from torch import Tensor

from training.data import CachedDataset, DataError, Dataset, Loader, Stream, VideoFolder, Videos
from training.encode import Encoding, encode


def videos(folder: Path, stride: int = 2) -> VideoFolder:
    return VideoFolder(Videos(path=folder, frames=3, stride=stride, size=(16, 24)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos, two of which cannot be used."""
    made = video_folder(tmp_path_factory.mktemp("videos"), 7, frames=12)
    (made / "c.mp4").write_text("not a video")
    (made / "f.txt").write_text("")
    (made / "g.txt").write_text("clip a")
    return made


def test_encode_and_read_back(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    encoder = TinyEncoder()
    report = encode(videos(folder), encoder, tmp_path, Encoding(shard_size=2, batch=2), report=lines.append)
    assert report.samples == 5
    assert report.skipped["f.mp4"] == "its caption is empty"
    assert "not a video" in report.skipped["c.mp4"]
    assert json.loads((tmp_path / "skipped.json").read_text()) == report.skipped
    assert lines[-3].endswith("2 skipped")
    assert lines[-1].startswith("  1 skipped: ")
    assert any("a second" in line and "min left" in line for line in lines)
    assert sorted(encoder.texts) == ["", "clip a", "clip b", "clip d", "clip e"]  # each caption once
    dataset = CachedDataset(tmp_path, fingerprint="tiny-1")
    assert [dataset.caption(i)[-1] for i in range(5)] == ["a", "b", "d", "e", "a"]
    assert (dataset.meta.frames, dataset.meta.height, dataset.meta.width) == (3, 16, 24)
    sample = dataset.load(1, torch.Generator())
    assert sample.latents is not None
    assert sample.context is not None
    assert sample.latents.shape == (3, 4, 2, 3)
    assert torch.equal(sample.context, TinyEncoder().encode_text(["clip b"])[0].half())


class Stopping(TinyEncoder):
    """Stops the run when it is asked for clip number `last`."""

    def __init__(self, last: int, kill: bool = False) -> None:
        super().__init__()
        self.last, self.kill = last, kill

    def encode_pixels(self, x: Tensor) -> Tensor:
        if self.clips == self.last:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        return super().encode_pixels(x)


@pytest.mark.parametrize("last", [0, 1, 2, 3, 4])
def test_an_interrupted_encode_resumes_and_ends_the_same(folder: Path, tmp_path: Path, last: int) -> None:
    encode(videos(folder), TinyEncoder(), tmp_path / "whole", Encoding(shard_size=2, passes=2), report=quiet)
    with pytest.raises(KeyboardInterrupt):
        encode(
            videos(folder), Stopping(last), tmp_path / "cut", Encoding(shard_size=2, passes=2), report=quiet
        )
    encoder = TinyEncoder()
    encode(videos(folder), encoder, tmp_path / "cut", Encoding(shard_size=2, passes=2), report=quiet)
    assert encoder.clips == 10 - 2 * (last // 2)  # whole shards are not made again
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    encode(
        videos(folder), Stopping(0), tmp_path / "cut", Encoding(shard_size=2, passes=2), report=quiet
    )  # nothing to do


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a forked process is killed")
def test_a_killed_encode_resumes(folder: Path, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            encode(
                videos(folder), Stopping(3, kill=True), tmp_path / "cut", Encoding(shard_size=2), report=quiet
            )
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    encode(videos(folder), TinyEncoder(), tmp_path / "cut", Encoding(shard_size=2), report=quiet)
    encode(videos(folder), TinyEncoder(), tmp_path / "whole", Encoding(shard_size=2), report=quiet)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_another_folder_or_setting_is_not_mixed_in(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(videos(folder), Stopping(2), tmp_path, Encoding(shard_size=2), report=quiet)
    with pytest.raises(DataError, match="expected frames=3 .* resume with the same"):
        encode(videos(folder, stride=1), TinyEncoder(), tmp_path, Encoding(shard_size=2), report=quiet)
    with pytest.raises(DataError, match="resume with the same"):
        encode(videos(folder), TinyEncoder(), tmp_path, Encoding(shard_size=2, seed=1), report=quiet)


def test_parts_and_workers_make_the_same_cache(folder: Path, tmp_path: Path) -> None:
    encode(videos(folder), TinyEncoder(), tmp_path / "whole", report=quiet)
    for part in range(2):
        encode(
            videos(folder),
            TinyEncoder(),
            tmp_path / "parts",
            Encoding(part=(part, 2), workers=part),
            report=quiet,
        )
    whole, parts = CachedDataset(tmp_path / "whole"), CachedDataset(tmp_path / "parts")
    assert len(whole) == len(parts) == 5
    for index in range(5):
        one, other = (d.load(index, torch.Generator()) for d in (whole, parts))
        assert one.caption == other.caption
        assert one.latents is not None
        assert other.latents is not None
        assert torch.equal(one.latents, other.latents)


def test_data_that_is_mostly_unreadable_is_an_error(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    for name in "abde":
        (bad / f"{name}.mp4").write_text("no")
    with pytest.raises(DataError, match=r"at least half(.|\n)*a\.mp4: not a video"):
        encode(videos(bad), TinyEncoder(), tmp_path / "out", report=quiet)
    assert "a.mp4" in json.loads((tmp_path / "out" / "skipped.json").read_text())


def test_real_videos_all_the_way(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    source.mkdir()
    for name, path in real_videos().items():
        shutil.copy(path, source / name)
        (source / name).with_suffix(".txt").write_text(f"a video of {path.stem}")
    dataset: Dataset = VideoFolder(Videos(path=source, frames=4, stride=8, size=(64, 64)))
    assert encode(dataset, TinyEncoder(), tmp_path / "out", report=quiet).samples == 4
    batch = next(islice(Loader(CachedDataset(tmp_path / "out"), Stream(seed=0, batch=4)), 1))
    assert batch.latents is not None
    assert batch.latents.shape == (4, 4, 4, 8, 8)
    assert sorted(batch.captions)[1] == "a video of bikes"
    assert batch.latents.flatten(1).std(1).min() > 0.05
