"""What a weights file may claim: files of a few kB that would cost a machine its time, memory or trust."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import seeded_files
import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from animatelcm_core.formats import (  # noqa: E402
    FormatError,
    check_adapter_lora,
    load_motion,
    read_tensors,
    reading,
    require_lora,
)
from animatelcm_core.formats.words import shown  # noqa: E402
from animatelcm_core.host.load.small_sizes import SizesError, check_weights, parse_sizes  # noqa: E402
from tests.fuzz import bases, pickles  # noqa: E402
from tests.fuzz.pickles import Call, Numbers, table  # noqa: E402

ENTRY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
FRAME = "torch._utils._rebuild_tensor_v2"


def refusal(path: Path) -> str:
    """The message of the refusal, which comes within bounds and holds nothing foreign."""
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        load_motion(*read_tensors(path), path.name)
    text = str(caught.value)
    assert time.process_time() - start < 5
    assert path.name in text
    assert len(text) < 1500
    assert text.isprintable()
    assert "weights_only" not in text
    assert "trust the" not in text
    assert "cannot be read (" not in text  # foreseen, and not left to the last net
    return text


# Headers of .safetensors files


@pytest.mark.parametrize(
    "header",
    [
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[NaN,4]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,4]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[false,true]}}',
        '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}}',
        '{"w":{"dtype":"F32","shape":[' + "9" * 5000 + '],"data_offsets":[0,4]}}',
        '{"w":{"dtype":"F32","shape":[' + "1," * 100 + '1],"data_offsets":[0,4]}}',
        '{"w":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}}',
        '{"w":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}',
        '{"w":' + ENTRY + ',"w":' + ENTRY + "}",
        '{"__metadata__":{"a":{}}}',
        '{"__metadata__":5}',
        '{"a":' * 60_000,
        "{" + ",".join(f'"{n}":{ENTRY}' for n in range(60_000)) + "}",
        '{"a":[' + "{}," * 3_000_000 + "{}]}",
        json.dumps({"n" * 10**6: json.loads(ENTRY)}),
        json.dumps({"\x1b[31mred\x1b[0m": json.loads(ENTRY)}),
    ],
    ids=range(20),
)
def test_odd_headers(tmp_path: Path, header: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(bases.joined(header.encode(), b"\0" * 4))
    refusal(path)


# Pickles


def written(tmp_path: Path, things: dict[str, Any], legacy: bool, rest: bytes = b"") -> Path:
    import random

    path = tmp_path / "w.ckpt"
    pickles.write(random.Random(0), path, table(things, rest), legacy)
    return path


def tensor(
    shape: tuple[int, ...], stride: tuple[int, ...], legacy: bool, count: int = 16, offset: int = 0
) -> Call:
    numbers = Numbers("Float", "0", count, (None,) if legacy else ())
    return Call(FRAME, numbers, offset, shape, stride, False, Call("collections.OrderedDict"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hand_made_pickle_is_read(tmp_path: Path, legacy: bool) -> None:
    found, _ = read_tensors(written(tmp_path, {"w": tensor((4, 4), (4, 1), legacy)}, legacy))
    assert found["w"].shape == (4, 4)
    assert not found["w"].any()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "count", "offset"),
    [
        ((2048, 2048), (0, 0), 16, 0),
        ((2**40,), (0,), 16, 0),
        ((2**62, 2**62), (0, 0), 16, 0),
        ((8192,), (0,), 16, 0),
        ((4, 4), (4, 1), 16, 1),
        ((4, 5), (4, 1), 16, 0),
        ((4,), (-1,), 16, 3),
        ((4,), (1, 1), 16, 0),
        ((4, 4), (4, 1), 2**40, 0),
        ((4, 4), (4, 1), 17, 0),
        ((1,) * 40, (1,) * 40, 16, 0),
    ],
)
def test_tensors_larger_than_their_numbers(tmp_path, legacy, shape, stride, count, offset) -> None:
    refusal(written(tmp_path, {"w": tensor(shape, stride, legacy, count, offset)}, legacy))


def test_a_small_expanded_tensor_is_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(77)}, tmp_path / "w.ckpt")
    assert read_tensors(tmp_path / "w.ckpt")[0]["w"].shape == (77,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        Call("builtins.bytearray", 3 * 2**30),
        Call("builtins.bytearray", 2**40),
        Call("torch.FloatTensor", 10**10),
        Call("torch.Tensor", 10**10),
        Call("torch.storage.UntypedStorage", 10**10),
        Call("_codecs.encode", "x" * 100_000, "idna"),
        Call("torch._utils._rebuild_meta_tensor_no_storage", 0, (2**40,), (1,), False),
        Call("builtins.set", [((((1,),),),)]),
    ],
)
def test_calls_that_cost(tmp_path: Path, call: Call, legacy: bool) -> None:
    refusal(written(tmp_path, {"w": tensor((4, 4), (4, 1), legacy), "x": call}, legacy))


def test_other_numbers_put_into_a_tensor(tmp_path: Path) -> None:
    numbers = Numbers("Float", "0", 16, ())
    state = bytes(pickles.Text().value((numbers, 0, (2**40,), (0,))).out[2:])
    inside = pickles.Text().value(tensor((4,), (1,), False)).out[2:]
    path = tmp_path / "w.ckpt"
    content = b"\x80\x02}X\x01\x00\x00\x00w" + bytes(inside) + state + b"bs."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(64))
    refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"K\x01s.",  # a key that is slow to look up
        b"\x80\x02}("
        + b"".join(bytes(pickles.Text().value(n * (2**61 - 1)).out[2:]) + b"N" for n in range(60_000))
        + b"u.",
        b"\x80\x02" + b"N0" * 1_000_000 + b".",
        b"\x80\x02" + b"N" * 1_100_000 + b".",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00.",
        b"\x80\x02]q\x00(h\x00h\x00e.",
    ],
    ids=range(8),
)
def test_steps_that_cost(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    refusal(path)


def dag(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"w": torch.ones(2)}
    for n in range(levels):
        tree = {f"a{n}": tree, f"b{n}": tree}
    return tree


def chain(depth: int, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = {"w": torch.ones(2)}
    for _ in range(depth):
        tree = {name: tree}
    return tree


def in_itself(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = {"x": 1}
    tree[name] = tree
    return tree


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    "tree",
    [
        dag(20),
        dag(31),
        dag(40),
        chain(150, "state_dict"),
        chain(40, "x"),
        in_itself("state_dict"),
        in_itself("me"),
    ],
    ids=range(7),
)
def test_odd_trees(tmp_path: Path, tree: dict[str, Any], archive: bool) -> None:
    (tmp_path / "w.ckpt").write_bytes(bases.saved(tree, archive))
    refusal(tmp_path / "w.ckpt")


def test_many_views_of_the_same_numbers(tmp_path: Path) -> None:
    numbers = torch.zeros(2**20)
    torch.save({f"w{n}": numbers for n in range(100)}, tmp_path / "w.ckpt")
    assert "in a file of" in refusal(tmp_path / "w.ckpt")
    torch.save({f"w{n}": numbers for n in range(4)}, tmp_path / "w.ckpt")
    assert len(read_tensors(tmp_path / "w.ckpt")[0]) == 4


CODE = [
    *("torch.jit.load", "torch.hub.load", "torch.storage._load_from_bytes", "torch.save", "torch.load"),
    *("torch.package.PackageImporter", "torch.fx.Interpreter", "torch.nn.Linear", "collections.namedtuple"),
    *("os.system", "numpy.load", "posix.system"),
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", CODE)
def test_code_of_any_module_is_called_code(tmp_path: Path, name: str, legacy: bool) -> None:
    text = refusal(written(tmp_path, {"w": Call(name, "x")}, legacy))
    assert f"holds code ({name})" in text


def test_a_long_and_coloured_name_of_code_is_cut(tmp_path: Path) -> None:
    text = refusal(written(tmp_path, {"w": Call("os.\x1b[31m" + "x" * 10**5, "x")}, False))
    assert "x" * 201 not in text


def test_numbers_do_not_come_from_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", table({"w": tensor((4, 4), (4, 1), False)}))
        archive.writestr("archive/data/0", bytes(60))
        archive.writestr("archive/data/1", bytes(640))
    refusal(path)


# No plain files


def test_pipes_sockets_devices_and_circles_are_refused_at_once(tmp_path: Path) -> None:
    for end in (".safetensors", ".ckpt"):
        os.mkfifo(tmp_path / f"pipe{end}")
        (tmp_path / f"zero{end}").symlink_to("/dev/zero")
        (tmp_path / f"circle{end}").symlink_to(tmp_path / f"circle{end}")
        (tmp_path / f"folder{end}").mkdir()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / f"socket{end}"))
    paths = list(tmp_path.iterdir())
    assert len(paths) == 10
    for path in paths:
        refusal(path)


# What is in the tensors


def motion(layout: str = "animatelcm_t2v") -> dict[str, Tensor]:
    return dict(bases.motion(layout))


def table_key(tensors: dict[str, Tensor]) -> str:
    return next(key for key in tensors if key.endswith(".pe"))


def refused(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    with pytest.raises(FormatError) as caught:
        load_motion(tensors, metadata, "mm.ckpt")
    assert "mm.ckpt" in str(caught.value)
    assert "cannot be read (" not in str(caught.value)
    return str(caught.value)


ODD = [torch.complex64, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.int64, torch.int8]


@pytest.mark.parametrize("dtype", ODD)
def test_dtypes_without_arithmetic_are_refused_by_name(dtype: torch.dtype) -> None:
    tensors = motion("animatediff_v2")
    assert f"{dtype} numbers in positions of" in refused(
        {k: v.to(dtype) if k.endswith(".pe") else v for k, v in tensors.items()}
    )
    key = next(iter(tensors))
    assert f"{dtype} numbers in {key}" in refused(tensors | {key: tensors[key].to(dtype)})
    lora = dict(bases.adapter_lora("t2i_adapter"))
    shapes = {k.removesuffix(".weight"): s for k, s in bases.NETWORKS["t2i_adapter"].items()}
    up = next(key for key in lora if key.endswith("lora_up.weight"))
    with pytest.raises(FormatError, match=str(dtype)):
        check_adapter_lora(lora | {up: lora[up].to(dtype)}, "l.ckpt", "t2i_adapter", shapes)


def test_quantised_and_sparse_tensors_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, tmp_path / "q.ckpt")
    assert "a quantised tensor" in refusal(tmp_path / "q.ckpt")
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "s.ckpt")
    assert "a sparse tensor" in refusal(tmp_path / "s.ckpt")


def test_a_whole_number_as_alpha_stays_allowed() -> None:
    lora = dict(bases.adapter_lora("t2i_adapter"))
    shapes = {k.removesuffix(".weight"): s for k, s in bases.NETWORKS["t2i_adapter"].items()}
    whole = {k: v.to(torch.int64) if k.endswith("alpha") else v for k, v in lora.items()}
    check_adapter_lora(whole, "l.ckpt", "t2i_adapter", shapes)
    complex_ = {k: v.to(torch.complex64) if k.endswith("alpha") else v for k, v in lora.items()}
    with pytest.raises(FormatError, match=r"complex64 numbers in alpha"):
        check_adapter_lora(complex_, "l.ckpt", "t2i_adapter", shapes)


def test_a_lora_of_complex_numbers_is_no_lora() -> None:
    tensors = {
        f"lora_unet_x.lora_{side}.weight": torch.ones(2, 2).to(torch.complex64) for side in ("up", "down")
    }
    with pytest.raises(FormatError, match="complex64"):
        require_lora(tensors, "l.ckpt")


@pytest.mark.parametrize("number", ["9" * 5000, "9999", "17", "99999", "00", "\u0663"])
def test_absurd_numbers_of_levels_and_layers(number: str) -> None:
    tensors = motion()
    for old in ("down_blocks.0.", "motion_modules.0."):
        key = next(key for key in tensors if old in key)
        refused(tensors | {key.replace(old, old.replace("0", number)): tensors[key]})
        refused({k.replace(old, old.replace("0", number)): v for k, v in tensors.items()})


@pytest.mark.parametrize("rows", [0, 2000, 10**6])
def test_absurd_position_tables(rows: int) -> None:
    tensors = motion("animatediff_v2")
    tables = {k: v.new_zeros(1, 1, 1).expand(1, rows, 32) for k, v in tensors.items() if k.endswith(".pe")}
    assert "positions for" in refused(tensors | tables)


def test_absurd_widths() -> None:
    name = "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"
    refused(motion() | {name: torch.zeros(1).expand(2**40)})
    refused(motion() | {name: torch.zeros(1).expand(64 * 128)})


@pytest.mark.parametrize("text", ["9" * 5000, "0", "-1", "257", "\u00b2", "", "\x1b[31m", "x" * 10**5])
def test_absurd_heads_and_schedules(text: str) -> None:
    assert refused(motion(), {"animatelcm.heads": text}).isprintable()
    assert len(refused(motion(), {"animatelcm.schedule": text})) < 700


def test_names_are_shown_in_part() -> None:
    assert shown("x" * 10**6) == "x" * 197 + "..."
    assert shown("\x1b[31mred\n") == "?[31mred?"
    assert len(refused({"x" * 10**6: torch.ones(1)})) < 600
    assert len(refused(motion() | {"x" * 10**6: torch.ones(1)})) < 600


# The last net


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), RuntimeError("\x1b[1m"), MemoryError()])
def test_what_no_reader_foresaw_is_about_the_file(error: Exception) -> None:
    with pytest.raises(FormatError, match=r"got w\.ckpt, which") as caught, reading("w.ckpt"):
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("error", [OSError(5, "disk"), KeyboardInterrupt(), FormatError("a", "b")])
def test_what_is_not_about_the_file_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("w.ckpt"):
        raise error
    assert caught.value is error


# Sizes of small checkpoints


def sizes(part: str = "", name: str = "", value: object = None) -> str:
    table: dict[str, Any] = seeded_files.host_sizes(seeded_files.SMALL)
    where = table["vae"]["ddconfig"] if part == "ddconfig" else table[part] if part else table
    if name:
        where[name] = value
    return json.dumps(table)


def test_the_sizes_of_real_files_pass() -> None:
    parse_sizes(sizes())
    parse_sizes(json.dumps(seeded_files.host_sizes(seeded_files.FULL)))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("text", "num_hidden_layers", v) for v in (100_000, 0, -1, 2.0, "2", None, True, [2], {}, 10**30)),
        *(("text", "hidden_size", v) for v in (10**9, None)),
        *(("text", "vocab_size", v) for v in (10**9, "x")),
        *(("unet", "model_channels", v) for v in (10**9, 0, "x")),
        *(("unet", "channel_mult", v) for v in ([], [10**9], 1, "12", [1] * 10_000, [[1]], None)),
        *(("unet", "num_res_blocks", v) for v in ([2], [2, 10**9], [0, 0], 2)),
        *(("unet", "transformer_depth", v) for v in ([], [10**9] * 4, [1])),
        *(("unet", "adm_in_channels", v) for v in (10**9, {})),
        *(("unet", "more", v) for v in (10**9, {"a": 1}, [10**9])),
        *(("ddconfig", "ch", v) for v in (10**9, None)),
        *(("ddconfig", "ch_mult", v) for v in ([10**9], 4, [])),
        *(("ddconfig", "num_res_blocks", v) for v in (10**6, [1])),
        *(("vae", "embed_dim", v) for v in (10**9, None)),
        *(("vae", "ddconfig", v) for v in (None, [], 5)),
        *(("", part, v) for part in ("unet", "text", "vae") for v in (None, [], {}, 5)),
    ],
)
def test_sizes_out_of_range_are_refused(part: str, name: str, value: object) -> None:
    with pytest.raises(SizesError):
        parse_sizes(sizes(part, name, value))


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[" * 90_000, "{}", "null", "5", "x" * 10**6, '{"unet":NaN}']
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(SizesError):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("text", "num_hidden_layers", 64), ("unet", "model_channels", 4096), ("ddconfig", "ch", 4096)],
)
def test_sizes_of_more_weights_than_the_file_has(part: str, name: str, value: int) -> None:
    table = parse_sizes(sizes(part, name, value))
    if part == "text":
        table["text"] |= {"hidden_size": 2048, "intermediate_size": 8192}
    with pytest.raises(SizesError, match="weights"):
        check_weights(table, {"model.diffusion_model.x": torch.ones(2)}, "model.diffusion_model.")


def test_a_file_of_many_tensors_is_read(tmp_path: Path) -> None:
    save_file({f"w{n}": torch.zeros(1) for n in range(5000)}, tmp_path / "w.safetensors")
    assert len(read_tensors(tmp_path / "w.safetensors")[0]) == 5000
    torch.save({"state_dict": {f"w{n}": torch.zeros(1) for n in range(5000)}}, tmp_path / "w.ckpt")
    assert len(read_tensors(tmp_path / "w.ckpt")[0]) == 5000
