"""`read_tensors`: what it opens, and what it says about files that are damaged, foreign or hostile."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animatelcm_core.formats import FormatError, read_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.tensor([1.5, -2.0]).half()}


def refusal(path: Path) -> str:
    """The message for a file that must not be read: names the file, and has its three parts."""
    with pytest.raises(FormatError) as caught:
        read_tensors(path)
    text = str(caught.value)
    assert text.startswith("got ")
    assert "; expected " in text
    assert path.name in text
    return text


def equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[k].dtype == wanted[k].dtype and torch.equal(found[k], wanted[k]) for k in wanted
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same weights in every container."""
    paths = {kind: tmp_path / f"weights.{kind}" for kind in ("safetensors", "ckpt", "pth")}
    save_file(WEIGHTS, paths["safetensors"], {"made": "here"})
    torch.save(WEIGHTS, paths["ckpt"])
    torch.save(WEIGHTS, paths["pth"], _use_new_zipfile_serialization=False)
    return paths


def test_every_container_gives_the_same_tensors_and_dtypes(files: dict[str, Path]) -> None:
    for path in files.values():
        assert equal(read_tensors(path)[0], WEIGHTS)
    assert read_tensors(files["safetensors"])[1]["made"] == "here"
    assert read_tensors(str(files["ckpt"]))[1] == {}


def test_the_name_decides_nothing(files: dict[str, Path]) -> None:
    swapped = files["ckpt"].with_name("really_safetensors.ckpt")
    files["safetensors"].rename(swapped)
    assert equal(read_tensors(swapped)[0], WEIGHTS)
    swapped = files["ckpt"].with_name("really_a_pickle.safetensors")
    files["ckpt"].rename(swapped)
    assert equal(read_tensors(swapped)[0], WEIGHTS)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to see the mappings")
@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_tensors_stay_mapped_on_disk(files: dict[str, Path], kind: str) -> None:
    tensors, _ = read_tensors(files[kind])
    assert str(files[kind]) in Path("/proc/self/maps").read_text()
    del tensors


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w},
        lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"lr": 0.1}, "loops": [1]},
        lambda w: {"anything": w},
        lambda w: {"model": {"state_dict": OrderedDict(w)}},
        lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}, "global_step": 7},
        lambda w: {f"module._orig_mod.{k}": v for k, v in w.items()},
        lambda w: {**w, "step": 5, "note": "text"},
        lambda w: {k: torch.nn.Parameter(v) for k, v in w.items()},
    ],
)
def test_wrappers_and_prefixes_are_removed(tmp_path: Path, wrap) -> None:
    torch.save(wrap(WEIGHTS), tmp_path / "w.ckpt")
    found, _ = read_tensors(tmp_path / "w.ckpt")
    assert equal(found, WEIGHTS)
    assert not any(value.requires_grad for value in found.values())


def test_prefix_of_only_some_names_stays(tmp_path: Path) -> None:
    save_file({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.safetensors")
    assert set(read_tensors(tmp_path / "w.safetensors")[0]) == {"module.a", "b"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float8_e4m3fn])
def test_storage_dtype_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"w": torch.ones(4).to(dtype)}, tmp_path / "w.safetensors")
    assert read_tensors(tmp_path / "w.safetensors")[0]["w"].dtype == dtype


@pytest.mark.parametrize("kind", ["safetensors", "ckpt", "pth"])
def test_a_file_cut_off_anywhere_is_refused(files: dict[str, Path], kind: str) -> None:
    content = files[kind].read_bytes()
    cuts = {0, 1, 3, 8, 9, 40, len(content) // 3, len(content) // 2, len(content) - 30, len(content) - 1}
    for cut in sorted(cuts):
        files[kind].write_bytes(content[:cut])
        text = refusal(files[kind])
        assert "empty" in text if cut == 0 else "Download" in text, (cut, text)


def test_a_cut_off_file_says_how_much_is_there(files: dict[str, Path]) -> None:
    size = files["safetensors"].stat().st_size
    files["safetensors"].write_bytes(files["safetensors"].read_bytes()[:-5])
    assert f"cut off after {size - 5:,} bytes; expected at least {size:,} bytes" in refusal(
        files["safetensors"]
    )
    files["ckpt"].write_bytes(files["ckpt"].read_bytes()[:500])
    assert "cut off after 500 bytes" in refusal(files["ckpt"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html>\n<html><head>", "a web page"),
        (b"\xef\xbb\xbf  \n<HTML lang=en>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML answer"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:b46c3d\nsize 1813041929\n",
            "Git LFS pointer",
        ),
        (b'{"error": "Entry not found"}', "a JSON text"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"no weights at all", "starts with 6e 6f 20"),
    ],
)
@pytest.mark.parametrize("name", ["mm.ckpt", "mm.safetensors"])
def test_downloads_gone_wrong_are_named(tmp_path: Path, content: bytes, what: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    if name.endswith(".safetensors") and what.startswith("starts"):
        what = "whose header claims"
    assert what in refusal(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no file at" in refusal(tmp_path / "gone.ckpt")
    assert "the folder" in refusal(tmp_path)


@pytest.mark.parametrize("length", [2**63, 2**41, 100_000_001])
def test_absurd_header_length(tmp_path: Path, length: int) -> None:
    (tmp_path / "w.safetensors").write_bytes(length.to_bytes(8, "little") + b"{" + b" " * 100)
    assert f"header claims {length:,} bytes" in refusal(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b"{not json",
        b"[1, 2]  ",
        json.dumps({"w": {"dtype": "F32", "shape": [2]}}).encode(),
        json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, "8"]}}).encode(),
        json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode(),
        json.dumps({"w": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}).encode(),
        json.dumps({"w": 5}).encode(),
        b'{"a":' * 50_000,
    ],
)
def test_damaged_header(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    refusal(tmp_path / "w.safetensors")


class _Touch:
    """Unpickling this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_file_is_not_run(tmp_path: Path, form: str, nested: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    content = {"state_dict": WEIGHTS | {"x": _Touch(marker)}} if nested else _Touch(marker)
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    text = refusal(path)
    assert not marker.exists()
    assert "holds code" in text
    assert "open" in text
    assert "was not run" in text
    if form != "plain":  # the file is what it claims to be: loaded carelessly, it runs
        torch.load(path, weights_only=False)
        assert marker.exists()


def test_archives_that_are_not_pytorch_files(tmp_path: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(tmp_path / "packed.ckpt", "w") as archive:
        archive.write(files["safetensors"], "weights.safetensors")
    assert "Unpack it" in refusal(tmp_path / "packed.ckpt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/model.py"):
            archive.writestr(f"m/{name}", b"x")
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def test_compressed_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(100_000)}, buffer)
    with (
        zipfile.ZipFile(buffer) as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "compressed" in refusal(tmp_path / "bomb.ckpt")


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], "text", {"epoch": 3}, {"state_dict": {}}, {}, torch.ones(2)]
)
def test_pickles_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.ckpt")
    refusal(tmp_path / "w.ckpt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["safetensors", "ckpt", "pth"])
def test_damage_anywhere_gives_a_plain_error_or_weights(files: dict[str, Path], kind: str) -> None:
    """200 damaged copies each: some bytes replaced, in the header and elsewhere."""
    content = files[kind].read_bytes()
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(content)
        places = torch.randint(len(content), (8,), generator=random).tolist()
        for place, byte in zip(places, torch.randint(256, (8,), generator=random).tolist(), strict=True):
            damaged[place] = byte
        files[kind].write_bytes(damaged)
        with contextlib.suppress(FormatError):
            assert read_tensors(files[kind])[0]
