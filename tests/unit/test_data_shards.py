"""WebDataset tars: what the webdataset library writes is read as it reads it, by number."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import islice
from pathlib import Path

import pytest
import torch
import webdataset
from data_files import frame_number, write_video
from PIL import Image

from training.data import DataError, Loader, Shards, Stream, UnreadableMedia, WebShards

SMALL = {"frames": 3, "stride": 2, "size": (32, 32)}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", 12, (32, 32)).read_bytes()


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (value, value, value)).save(out, format="PNG")
    return out.getvalue()


def write_shards(folder: Path, shards: int = 3, samples: int = 4) -> Path:
    """Pictures of grey 0, 1, 2, ... over some tars."""
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"{shard:03d}.tar")) as writer:
            for row in range(samples):
                number = shard * samples + row
                writer.write({"__key__": f"{number:05d}", "png": jpeg(number), "txt": f"grey {number}"})
    return folder


def images(pattern: Path | str, **more: int) -> WebShards:
    return WebShards(Shards(pattern=str(pattern), media="image", size=(8, 8), **more))


def captions(dataset: WebShards) -> list[str]:
    return [dataset.load(index, torch.Generator()).caption for index in range(len(dataset))]


def refused(dataset: WebShards, index: int) -> str:
    with pytest.raises(UnreadableMedia) as caught:
        dataset.load(index, torch.Generator())
    return str(caught.value)


def test_samples_are_those_that_the_library_reads(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "data")
    dataset = images(folder)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert captions(dataset) == [sample["txt"].decode() for sample in theirs]
    assert [dataset.name(i).split("/")[1] for i in range(12)] == [sample["__key__"] for sample in theirs]
    values = [dataset.load(i, torch.Generator()).pixels for i in range(12)]
    assert [int(p.float().mean()) for p in values if p is not None] == list(range(12))
    braces = images(f"{folder}/{{000..001}}.tar")
    assert captions(braces) == captions(dataset)[:8]


def test_videos_and_json_captions(tmp_path: Path, video: bytes) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write(
            {"__key__": "x/1", "mp4": video, "json": json.dumps({"caption": " a  ship ", "id": 1}).encode()}
        )
        writer.write({"__key__": "x/2", "mp4": video, "json": b'{"text": "no"}'})
        writer.write({"__key__": "x/3", "mp4": b"junk", "txt": "junk"})
        writer.write({"__key__": "x/4", "txt": "alone"})
        writer.write({"__key__": "x/5", "mp4": video, "txt": b"caf\xe9"})
    dataset = WebShards(Shards(pattern=str(tmp_path), **SMALL))
    sample = dataset.load(0, torch.Generator().manual_seed(0))
    assert sample.caption == "a ship"
    assert sample.pixels is not None
    shown = [frame_number(frame) for frame in sample.pixels]
    assert shown == [shown[0], shown[0] + 2, shown[0] + 4]
    assert "its caption cannot be read: KeyError" in refused(dataset, 1)
    assert "not a video" in refused(dataset, 2)
    assert refused(dataset, 3) == "no video: it has txt"
    assert "its caption cannot be read" in refused(dataset, 4)


def test_an_epoch_shuffles_tars_and_windows_and_resumes(tmp_path: Path) -> None:
    dataset = images(write_shards(tmp_path / "data", 5, 6), shuffle=6)
    order = dataset.order(0, 0)
    assert sorted(order.tolist()) == list(range(30))
    assert [len(set((window // 6).tolist())) for window in order.split(6)] == [1] * 5  # one tar a window
    assert not torch.equal(order, dataset.order(0, 1))
    whole = [batch.captions for batch in islice(Loader(dataset, Stream(seed=2, batch=4)), 9)]
    resumed = [batch.captions for batch in islice(Loader(dataset, Stream(seed=2, batch=4, start=20)), 4)]
    assert resumed == whole[5:]


def test_the_index_beside_a_tar_is_used_while_it_fits(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "data", 1, 2)
    first = captions(images(folder))
    beside = folder / "000.tar.index.json"
    stored = json.loads(beside.read_text())
    stored["members"] = stored["members"][:1]
    beside.write_text(json.dumps(stored))
    assert captions(images(folder)) == first[:1]  # it is read
    for junk in (
        "",
        "[]",
        '{"stamp": 1}',
        json.dumps({**stored, "members": [{"key": "a", "parts": {"png": [-1, 9]}}]}),
    ):
        beside.write_text(junk)
        assert captions(images(folder)) == first
    write_shards(folder, 1, 3)
    assert len(images(folder)) == 3


def test_damaged_tars_lose_only_what_is_damaged(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "data", 1, 4)
    data = (folder / "000.tar").read_bytes()
    with tarfile.open(folder / "000.tar") as opened:
        member = opened.getmember("00002.txt")
    head, body = member.offset, member.offset_data
    for content, words in (
        (data[: head + 300], "cut off or damaged"),
        (data[:head], "cut off or damaged"),
        (data[: body + 2], "cut off in 00002.txt"),
        (data[:head] + b"\xff" * 512 + data[head + 512 :], f"cut off or damaged at byte {head}"),
    ):
        (folder / "000.tar").write_bytes(content)
        dataset = images(folder)
        names = [dataset.name(i) for i in range(len(dataset))]
        assert names == ["000.tar/00000", "000.tar/00001", "000.tar/00002", "000.tar"]
        assert (
            captions(images(folder))[:2] if False else dataset.load(1, torch.Generator()).caption == "grey 1"
        )
        with pytest.raises(UnreadableMedia, match=words):
            dataset.load(3, torch.Generator())
        assert "no caption" in refused(dataset, 2)


@pytest.mark.parametrize(
    "content", [b"", b"hello" * 500, b"\x1f\x8b" + b"x" * 2000], ids=["empty", "text", "gzip"]
)
def test_other_files_count_as_one_unreadable_sample(tmp_path: Path, content: bytes) -> None:
    folder = write_shards(tmp_path / "data", 2)
    (folder / "000.tar").write_bytes(content)
    dataset = images(folder)
    assert len(dataset) == 5
    assert dataset.name(0) == "000.tar"
    assert "not an uncompressed tar" in refused(dataset, 0)
    assert dataset.load(1, torch.Generator()).caption == "grey 4"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../a.png", tarfile.REGTYPE),
        ("/etc/a.png", tarfile.REGTYPE),
        ("a.png", tarfile.SYMTYPE),
        ("a.png", tarfile.LNKTYPE),
    ],
)
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as writer:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        writer.addfile(member, io.BytesIO())
    with pytest.raises(DataError, match="leads out of its folder"):
        images(tmp_path)


def test_patterns_without_tars(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.tar"):
        images(tmp_path)
    with pytest.raises(DataError, match="for the shard"):
        images(f"{tmp_path}/{{0..1}}.tar")
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(DataError, match="no sample"):
        images(tmp_path)
