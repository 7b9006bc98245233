"""Folders and CSVs: which files, which captions, and what is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from data_files import video_folder, write_video
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from training.data import DataConfig, DataError, ImageFolder, Images, UnreadableMedia, VideoFolder, Videos

SMALL = {"frames": 4, "stride": 2, "size": (16, 16)}


def refused(dataset: VideoFolder | ImageFolder, index: int) -> str:
    with pytest.raises(UnreadableMedia) as caught:
        dataset.load(index, torch.Generator())
    return str(caught.value)


def test_configs_are_told_apart_and_strict() -> None:
    adapter = TypeAdapter(DataConfig)
    config = adapter.validate_python({"kind": "videos", "path": "x", "size": [256, 384]})
    assert isinstance(config, Videos)
    assert (config.frames, config.stride, config.size) == (16, 4, (256, 384))
    for wrong in (
        {"kind": "videos", "path": "x", "strid": 2},
        {"kind": "folder", "path": "x"},
        {"kind": "images", "path": "x", "size": (100, 100)},  # not a multiple of 8
        {"kind": "videos", "path": "x", "frames": 0},
        {"kind": "cached"},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_videos_with_sidecars(tmp_path: Path) -> None:
    video_folder(tmp_path / "b", 2)
    video_folder(tmp_path / "a", 1)
    (tmp_path / "a" / "a.txt").write_bytes("\ufeffa  caf\u00e9\r\nby the sea \n".encode())
    (tmp_path / "b" / ".hidden.mp4").write_bytes(b"x")
    dataset = VideoFolder(Videos(path=tmp_path, **SMALL))
    assert [dataset.name(i) for i in range(len(dataset))] == ["a/a.mp4", "b/a.mp4", "b/b.mp4"]
    sample = dataset.load(0, torch.Generator().manual_seed(1))
    assert sample.caption == "a caf\u00e9 by the sea"
    assert sample.pixels is not None
    assert (sample.pixels.shape, sample.pixels.dtype) == ((4, 3, 16, 16), torch.uint8)
    again = dataset.load(0, torch.Generator().manual_seed(1)).pixels
    assert again is not None
    assert torch.equal(sample.pixels, again)
    assert pickle.loads(pickle.dumps(dataset)).entries == dataset.entries  # workers that are spawned


def test_samples_without_a_caption_are_refused(tmp_path: Path) -> None:
    video_folder(tmp_path, 4)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "c.txt").write_bytes(b"caf\xe9")
    dataset = VideoFolder(Videos(path=tmp_path, **SMALL))
    assert refused(dataset, 0) == "it has no caption: expected it in a.txt"
    assert refused(dataset, 1) == "its caption is empty"
    assert "cannot be read" in refused(dataset, 2)
    assert dataset.load(3, torch.Generator()).caption == "clip d"


def test_a_csv_as_webvid_gives_it(tmp_path: Path) -> None:
    (tmp_path / "000001_000050").mkdir()
    write_video(tmp_path / "000001_000050" / "1066674784.mp4", 20, (32, 32))
    table = tmp_path / "results.csv"
    table.write_text(
        "videoid,contentUrl,duration,page_dir,name\n"
        '1066674784,https://example.org/a.mp4,PT00H00M10S,000001_000050,"Waves, at ""dawn"""\n'
        "2,https://example.org/b.mp4,PT00H00M10S,000001_000050,Gone\n"
        "3,https://example.org/c.mp4,PT00H00M10S,../../../etc,Up and away\n"
        "1066674784,https://example.org/d.mp4,PT00H00M10S,000001_000050,\n"
        "/etc/passwd,https://example.org/e.mp4,PT00H00M10S,,Absolute\n",
        encoding="utf-8",
    )
    dataset = VideoFolder(Videos(path=tmp_path, csv=table, **SMALL))
    assert len(dataset) == 5
    assert dataset.load(0, torch.Generator()).caption == 'Waves, at "dawn"'
    assert refused(dataset, 1) == "there is no such file"
    assert "leads out" in refused(dataset, 2)
    assert refused(dataset, 3) == "its caption is empty"
    assert "leads out" in refused(dataset, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file,text\na.jpg,hello\n", "got the columns file, text"),
        (b"", r"got the columns \(none\)"),
        (b"file_name,text\n", "got no row"),
        (b"file_name,text\na.jpg,caf\xe9\n", "0xe9 that is not UTF-8"),
        (b'file_name,text\na.jpg,"' + b"x" * 200_000 + b'"\n', "not a CSV"),
    ],
    ids=["columns", "empty", "rows", "latin1", "huge"],
)
def test_a_csv_that_cannot_be_used(tmp_path: Path, content: bytes, words: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=words):
        ImageFolder(Images(path=tmp_path, csv=table))


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        VideoFolder(Videos(path=tmp_path / "none"))
    with pytest.raises(DataError, match=r"no file with one of \.mp4"):
        VideoFolder(Videos(path=tmp_path))
    with pytest.raises(DataError, match="for the CSV"):
        VideoFolder(Videos(path=tmp_path, csv=tmp_path / "none.csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    inner = video_folder(tmp_path / "data", 2)
    outer = video_folder(tmp_path / "private", 1)
    (inner / "c.mp4").symlink_to(outer / "a.mp4")
    (inner / "c.txt").write_text("not yours")
    (inner / "d.mp4").symlink_to("a.mp4")
    (inner / "d.txt").symlink_to("a.txt")
    (inner / "b.txt").unlink()
    (inner / "b.txt").symlink_to(outer / "a.txt")
    (inner / "e.mp4").symlink_to("e.mp4")
    (inner / "folder").symlink_to(outer, target_is_directory=True)
    dataset = VideoFolder(Videos(path=inner, **SMALL))
    assert len(dataset) == 5
    assert "leads out" in refused(dataset, 1)
    assert "leads out" in refused(dataset, 2)
    assert dataset.load(3, torch.Generator()).caption == "clip a"
    assert refused(dataset, 4)
    (tmp_path / "link").symlink_to(inner, target_is_directory=True)  # the folder itself may be a link
    assert VideoFolder(Videos(path=tmp_path / "link", **SMALL)).load(0, torch.Generator()).caption == "clip a"


def test_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (250, 0, 0)).save(tmp_path / "one.PNG")
    (tmp_path / "one.txt").write_text("red")
    dataset = ImageFolder(Images(path=tmp_path, size=(16, 24)))
    sample = dataset.load(0, torch.Generator())
    assert sample.pixels is not None
    assert sample.pixels.shape == (1, 3, 16, 24)
    assert sample.pixels[0, :, 8, 8].tolist() == [250, 0, 0]
    (tmp_path / "metadata.csv").write_text("file_name,text\none.PNG,a red field\n")
    listed = ImageFolder(Images(path=tmp_path, csv=tmp_path / "metadata.csv", size=(16, 24)))
    assert listed.load(0, torch.Generator()).caption == "a red field"
