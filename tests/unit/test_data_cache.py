"""The cache of latents: what goes in comes out, damage is named, nothing finished is ever lost."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.data import (
    Cached,
    CachedDataset,
    CacheMeta,
    CacheWriter,
    DataError,
    Loader,
    Stream,
    UnreadableMedia,
    open_dataset,
)

META = CacheMeta(frames=2, height=24, width=32, source="x")
NULL = torch.full((7, 5), 0.5)


def latents(number: int) -> Tensor:
    return torch.randn(2, 4, 3, 4, generator=torch.Generator().manual_seed(number))


def context(caption: str) -> Tensor:
    return torch.full((7, 5), float(len(caption)))


def writer(out: Path, fingerprint: str = "vae-a text-b", meta: CacheMeta = META) -> CacheWriter:
    return CacheWriter(out, fingerprint=fingerprint, meta=meta, null_context=NULL, shard_size=4)


def add(target: CacheWriter, first: int, last: int) -> None:
    """Samples first..last-1; three captions in turn, and the empty one."""
    for number in range(first, last):
        caption = ("", "a", "bb", "ccc")[number % 4]
        new = None if target.knows(caption) else context(caption)
        target.add(caption, latents(number), new, name=f"{number}.mp4")


def filled(out: Path, count: int = 10) -> Path:
    with writer(out) as target:
        add(target, 0, count)
    return out


def test_round_trip(tmp_path: Path) -> None:
    dataset = open_dataset(Cached(path=filled(tmp_path / "c")), fingerprint="vae-a text-b")
    assert isinstance(dataset, CachedDataset)
    assert len(dataset) == 10
    assert (dataset.meta.frames, dataset.meta.height, dataset.meta.width) == (2, 24, 32)
    assert dataset.latent_shape == (2, 4, 3, 4)
    assert torch.equal(dataset.null_context, NULL.half())
    for number in (9, 0, 4, 3):
        sample = dataset.load(number, torch.Generator())
        assert sample.latents is not None
        assert sample.context is not None
        assert sample.pixels is None
        assert torch.equal(sample.latents, latents(number).half())
        assert sample.caption == dataset.caption(number) == ("", "a", "bb", "ccc")[number % 4]
        assert torch.equal(sample.context, (context(sample.caption) if sample.caption else NULL).half())
    batch = next(iter(Loader(dataset, Stream(seed=0, batch=10))))
    assert batch.latents is not None
    assert batch.latents.dtype == torch.float32
    assert batch.latents.shape == (10, 2, 4, 3, 4)


def test_equal_captions_are_stored_once(tmp_path: Path) -> None:
    folder = filled(tmp_path / "c")
    stored = [load_file(folder / f"0000{shard}.safetensors")["contexts"] for shard in range(3)]
    assert [len(each) for each in stored] == [4, 0, 0]


def test_workers_map_the_files_themselves(tmp_path: Path) -> None:
    dataset = CachedDataset(filled(tmp_path / "c"))
    dataset.load(0, torch.Generator())
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.caption(5) == "a"
    alone, helped = (
        [batch.latents for batch in islice(Loader(dataset, Stream(seed=0, batch=3, workers=workers)), 5)]
        for workers in (0, 1)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(alone, helped, strict=True) if a is not None and b is not None
    )


def interrupted(target: CacheWriter) -> None:
    with target:
        add(target, 0, 7)
        raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_an_interrupted_cache_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(writer(tmp_path / "cut"))
    with pytest.raises(DataError, match="unfinished cache .* with 4 samples"):
        CachedDataset(tmp_path / "cut")
    (tmp_path / "cut" / "00001.safetensors.123.part").write_bytes(b"half a shard")
    (tmp_path / "cut" / "00001.safetensors").write_bytes(b"a shard that is in no index")
    with writer(tmp_path / "cut") as target:
        assert (target.samples, target.consumed) == (4, 4)
        assert target.knows("ccc")
        add(target, 4, 10)
    assert contents(tmp_path / "cut") == contents(filled(tmp_path / "whole"))


def test_a_cache_of_something_else_is_not_mixed(tmp_path: Path) -> None:
    target = writer(tmp_path)
    add(target, 0, 4)
    with pytest.raises(DataError, match="with fingerprint vae-a text-b; expected vae-z"):
        writer(tmp_path, fingerprint="vae-z")
    with pytest.raises(DataError, match="with meta frames=2"):
        writer(tmp_path, meta=META.model_copy(update={"source": "y"}))
    with writer(tmp_path) as target:
        add(target, 4, 5)
    with pytest.raises(DataError, match="which is complete"):
        add(writer(tmp_path), 5, 6)
    with pytest.raises(DataError, match="made by vae-a text-b, expected vae-z"):
        CachedDataset(tmp_path, fingerprint="vae-z")
    with pytest.raises(DataError, match="no sample"), writer(tmp_path / "empty"):
        pass


def test_numbers_that_are_not_finite_are_refused_on_the_way_in(tmp_path: Path) -> None:
    target = writer(tmp_path)
    for bad in (float("nan"), float("inf"), 1e6):  # 1e6 is beyond float16
        with pytest.raises(DataError, match=r"the latents of x\.mp4 that are not finite"):
            target.add("", latents(0).index_fill(3, torch.tensor(1), bad), name="x.mp4")
    with pytest.raises(DataError, match="the context of sample 0"):
        target.add("new", latents(0), torch.full((7, 5), float("nan")))
    for wrong in (None, torch.zeros(7, 6)):
        with pytest.raises(DataError, match=r"expected \(7, 5\)"):
            target.add("new", latents(0), wrong)
    target.add("", latents(0))
    with pytest.raises(DataError, match=r"expected \(2, 4, 3, 4\)"):
        target.add("", latents(0)[:1])


def test_numbers_that_are_not_finite_are_skipped_on_the_way_out(tmp_path: Path) -> None:
    folder = filled(tmp_path / "c")
    path = folder / "00001.safetensors"
    with_nan = load_file(path)
    with_nan["latents"][2, 0, 0, 0, 0] = float("nan")
    save_file(with_nan, path, json_metadata(path))
    dataset = CachedDataset(folder)
    with pytest.raises(UnreadableMedia, match="its latents has numbers that are not finite"):
        dataset.load(6, torch.Generator())
    loader = Loader(dataset, Stream(seed=0, batch=10), report=lambda line: None)
    next(iter(loader))
    assert list(loader.skipped) == ["00001.safetensors[2]"]


def json_metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header["__metadata__"]


def as_earlier(folder: Path) -> None:
    """The cache as earlier releases wrote it: labels in the index and in every shard."""
    index = json.loads((folder / "index.json").read_text())
    index["labels"] = ["body"]
    for shard in index["shards"]:
        path = folder / shard["file"]
        labels = torch.arange(shard["samples"])
        save_file({**load_file(path), "label.body": labels}, path, json_metadata(path))
        shard["size"] = path.stat().st_size
    (folder / "index.json").write_text(json.dumps(index))


def test_a_cache_of_an_earlier_release_is_read_and_resumed(tmp_path: Path) -> None:
    as_earlier(filled(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(writer(tmp_path / "cut"))
    as_earlier(tmp_path / "cut")
    with writer(tmp_path / "cut") as target:
        add(target, 4, 10)
    for name in ("whole", "cut"):
        dataset = CachedDataset(tmp_path / name)
        for number in range(10):
            sample = dataset.load(number, torch.Generator())
            assert sample.latents is not None
            assert torch.equal(sample.latents, latents(number).half())
            assert sample.caption == ("", "a", "bb", "ccc")[number % 4]


def test_damage_is_named(tmp_path: Path) -> None:
    folder = filled(tmp_path / "c")
    shard = folder / "00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(
        DataError, match=rf"got {len(whole) - 10} bytes at .*00001\.safetensors, expected {len(whole)}"
    ):
        CachedDataset(folder)
    shard.write_bytes(b"\xff" * len(whole))
    dataset = CachedDataset(folder)
    assert dataset.load(0, torch.Generator()).latents is not None
    with pytest.raises(UnreadableMedia, match="its shard is broken"):
        dataset.load(5, torch.Generator())
    shard.unlink()
    with pytest.raises(DataError, match=r"got no file at .*00001\.safetensors"):
        CachedDataset(folder)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no index\.json"):
        CachedDataset(tmp_path)
    folder = filled(tmp_path / "c")
    index = json.loads((folder / "index.json").read_text())
    index["shards"][0]["file"] = "../../00000.safetensors"
    for content in (b"", b"[]", b"\xff", json.dumps(index).encode()):
        (folder / "index.json").write_bytes(content)
        with pytest.raises(DataError, match=r"index\.json that is not an index"):
            CachedDataset(folder)


def test_parts_are_one_cache(tmp_path: Path) -> None:
    for part, (first, last) in enumerate([(0, 5), (5, 6), (6, 10)]):
        with writer(tmp_path / f"part-{part}-of-3") as target:
            add(target, first, last)
    dataset = CachedDataset(tmp_path)
    assert [dataset.caption(n) for n in range(10)] == [("", "a", "bb", "ccc")[n % 4] for n in range(10)]
    last = dataset.load(9, torch.Generator())
    assert last.latents is not None
    assert torch.equal(last.latents, latents(9).half())
    (tmp_path / "part-1-of-3" / "index.json").unlink()
    with pytest.raises(DataError, match="missing: part-1-of-3"):
        CachedDataset(tmp_path)
    with writer(tmp_path / "part-1-of-3", fingerprint="other") as target:
        add(target, 0, 1)
    with pytest.raises(DataError, match="part-1-of-3 with fingerprint other"):
        CachedDataset(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a file size limit stands for a full disk")
def test_a_full_disk_costs_the_shard_in_the_making(tmp_path: Path) -> None:
    import resource

    target = writer(tmp_path / "full")
    add(target, 0, 7)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="the 4 samples before this shard are safe: make room"):
            add(target, 7, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "full").glob("*.part"))
    with writer(tmp_path / "full") as target:
        assert target.samples == 4
        add(target, 4, 10)
    assert contents(tmp_path / "full") == contents(filled(tmp_path / "whole"))
