"""Data of strangers: pipes, deep JSON, absurd numbers. Each is told, none is waited for."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from training.data import CachedDataset, CacheMeta, CacheWriter, DataError, Images, Sample, UnreadableMedia
from training.data.braces import check_braces
from training.data.config import Shards
from training.data.folders import ImageFolder
from training.data.listing import Columns, list_csv
from training.data.media import read_clip, read_image
from training.data.reading import Skip, read
from training.data.sample import Dataset
from training.data.tarindex import tar_index
from training.data.webshards import WebShards, shard_paths
from training.eval.captions import read_captions
from training.metrics import trim

PIPE = "named pipe"
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pipes
@pytest.mark.parametrize(
    "use",
    [
        lambda path: read_image(path, (8, 8)),
        lambda path: read_clip(path, 1, 1, (8, 8), 0.0),
        lambda path: list_csv(path, Columns("a", "b", None, ".png"), (".png",)),
        lambda path: tar_index(path),
        lambda path: read_captions(path),
        lambda path: trim(path, 1),
    ],
)
def test_a_pipe_is_not_waited_for(use: Any, tmp_path: Path) -> None:
    with pytest.raises((UnreadableMedia, DataError, OSError), match=PIPE):
        use(pipe(tmp_path / "x"))


@pipes
def test_pipes_beside_what_is_sound(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    pipe(tmp_path / "a.txt")
    dataset = ImageFolder(Images(path=tmp_path, size=(8, 8)))
    told = read(dataset, 0, 0, 0)
    assert isinstance(told, Skip)
    assert PIPE in told.reason
    tar = tmp_path / "t.tar"
    tar.write_bytes(bytes(10240))
    pipe(tmp_path / "t.tar.index.json")
    assert tar_index(tar).members == []
    pipe(tmp_path / "index.json")
    with pytest.raises(DataError, match=PIPE):
        CachedDataset(tmp_path)


def test_deep_json_is_a_caption_that_cannot_be_read(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    tar = tmp_path / "t.tar"
    with tarfile.open(tar, "w") as file:
        for name, content in (("a.png", picture.getvalue()), ("a.json", b"[" * 200_000)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    (tmp_path / "t.tar.index.json").write_text("[" * 200_000)
    dataset = WebShards(Shards(pattern=str(tar), media="image", size=(8, 8)))
    told = read(dataset, 0, 0, 0)
    assert isinstance(told, Skip)
    assert "its caption cannot be read: RecursionError" in told.reason
    assert list(dataset.captions()) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..99999999}.tar",
        "{0..9}" * 9,
        "{a,b}" * 40,
        "{{0..9999},{0..9999999}}",
        "x{0..99999999..3}",
        "{" + "9" * 3000 + "..1}",
        "{" * 300 + "a" + "}" * 300,
        "{" + "0" * 3000 + "..50000}",
        "{\x00..\U0010ffff}",
    ],
)
def test_a_pattern_of_too_many_names_is_counted_first(pattern: str) -> None:
    began = time.process_time()
    with pytest.raises(DataError, match="pattern"):
        shard_paths(pattern)
    assert time.process_time() - began < 5


def test_braces_of_a_data_set() -> None:
    for pattern in ("/d/{000..099}.tar", "/d/{a,b}/{0..9}.tar", "plain.tar", "{{0..9},x}.tar", "\\{a.tar"):
        check_braces(pattern)
    assert [p.name for p in shard_paths("{a,b{0..1}}.tar")] == ["a.tar", "b0.tar", "b1.tar"]
    with pytest.raises(DataError, match="braces in pairs"):
        shard_paths("{{{")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    null = torch.zeros(3, 2)
    meta = CacheMeta(frames=1, height=16, width=16)
    with CacheWriter(tmp_path / "c", fingerprint="x", meta=meta, null_context=null, shard_size=2) as writer:
        for i in range(4):
            writer.add(f"caption {i % 3}", torch.ones(1, 4, 2, 2), torch.ones(3, 2))
    return tmp_path / "c"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("shards", 0, "samples"), 10**12),
        (("shards", 0, "samples"), 10**30),
        (("shards", 0, "samples"), None),
        (("shards", 0, "samples"), -1),
        (("shards", 0, "texts"), 10**9),
        (("shards", 0, "size"), None),
        (("latent_shape",), None),
        (("latent_shape",), [1, 4, 0, 2]),
        (("latent_shape",), [10**9] * 4),
        (("context_shape",), [10**6, 10**6]),
        (("meta", "frames"), 10**30),
        (("meta",), None),
        (("shards",), {}),
    ],
)
def test_an_index_of_absurd_numbers_is_refused(place: tuple[Any, ...], value: Any, cache: Path) -> None:
    path = cache / "index.json"
    index = json.loads(path.read_text())
    inner = index
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"index\.json"):
        CachedDataset(cache)
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"index\.json"):
        CachedDataset(cache)


@pytest.mark.parametrize(
    "change",
    [
        {"text": torch.tensor([-1, -1])},
        {"text": torch.tensor([99, 99])},
        {"text": torch.tensor([torch.nan, torch.nan])},
        {"text": torch.tensor([0.0, 1.0])},
        {"text": torch.tensor([[0], [1]])},
        {"latents": torch.ones(2, 1, 4, 2, 2).to(torch.float8_e4m3fn)},
        {"latents": torch.ones(2, 1, 4, 2, 2, dtype=torch.int16)},
        {"latents": torch.ones(2, 1, 4, 2, 2, dtype=torch.complex64)},
        {"latents": torch.ones(1)},
        {"contexts": torch.ones(3, 3, 2).to(torch.float8_e5m2)},
    ],
)
def test_a_shard_of_other_numbers_is_skipped(change: dict[str, torch.Tensor], cache: Path) -> None:
    path = cache / "00000.safetensors"
    with safe_open(path, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        words = opened.metadata()
    index = json.loads((cache / "index.json").read_text())
    save_file({**tensors, **change}, path, {**words, "filler": "x" * 1000})  # as large as its index says
    index["shards"][0]["size"] = path.stat().st_size
    (cache / "index.json").write_text(json.dumps(index))
    told = read(CachedDataset(cache), 0, 0, 0)
    assert isinstance(told, Skip)
    assert "expected" in told.reason


def test_texts_of_the_cache_are_as_before(cache: Path) -> None:
    dataset = CachedDataset(cache)
    assert [dataset.caption(i) for i in range(4)] == ["caption 0", "caption 1", "caption 2", "caption 0"]
    (cache / "00000.safetensors").rename(cache / "x")
    with pytest.raises(DataError, match="no file"):
        CachedDataset(cache)


class _Odd(Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def load(self, index: int, generator: torch.Generator) -> Sample:
        raise self.error

    def captions(self) -> Iterator[tuple[str, str]]:
        return iter([("a.png", "a red dragon"), ("b.png", "a red fish")])


def test_what_a_reader_did_not_foresee_is_a_file_that_is_skipped() -> None:
    told = read(_Odd(RuntimeError("not\nimplemented")), 0, 0, 0)
    assert told == Skip(0, "it cannot be read: RuntimeError not implemented")
    with pytest.raises(DataError):
        read(_Odd(DataError("as a whole")), 0, 0, 0)


def test_words_that_are_not_known_are_told_before_the_work() -> None:
    from tests.support.small_run import CHECKPOINT
    from training.base import load_base
    from training.config import BaseConfig
    from training.words import check_words

    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    with pytest.raises(DataError, match=r"got 2 words .*'dusk' in samples\.prompts, 'dragon' in a\.png"):
        check_words(base, _Odd(ValueError()), ["a red fish", "dusk"])


def test_rows_of_the_log_are_there_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 1, "a": 1}\n\xff\n[]\n{"a": 1}\n{"step": "2"}\n{"step": 1, "a": 2}\n{"step": 9}\n'
    )
    trim(path, 4)
    assert path.read_text() == '{"step": 1, "a": 2}\n'
