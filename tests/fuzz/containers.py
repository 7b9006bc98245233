"""Generators of files whose bytes are wrong: headers, archives, and what is no weights file at all."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import zipfile
from pathlib import Path
from random import Random

from . import bases


def flipped(random: Random, content: bytes) -> bytes:
    """Some bytes replaced, taken out or put in."""
    data = bytearray(content)
    for _ in range(random.choice((1, 2, 8, 64))):
        place = random.randrange(min(len(data), random.choice((200, 4000, len(data)))) or 1)
        action = random.randrange(6)
        if action < 4:
            data[place : place + 1] = bytes([random.randrange(256)])
        elif action == 4:
            del data[place : place + random.choice((1, 8, 100))]
        else:
            data[place:place] = random.randbytes(random.choice((1, 8, 100)))
        data = data or bytearray(1)
    return bytes(data)


def cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))] + random.randbytes(random.choice((0, 0, 10, 1000)))


def safetensors_bytes(random: Random, path: Path) -> None:
    """A whole file with damage anywhere."""
    content = bases.joined(*bases.safetensors(bases.tensors(random)))
    path.write_bytes(random.choice((flipped, cut))(random, content))


def safetensors_header(random: Random, path: Path) -> None:
    """A header with other values in it."""
    header, numbers = bases.safetensors(bases.tensors(random), {"animatelcm.heads": "4"})
    for _ in range(random.choice((1, 1, 3))):
        key = random.choice(list(header))
        entry = header[key]
        if not isinstance(entry, dict) or random.randrange(5) == 0:
            header[random.choice((key, str(bases.odd_value(random))))] = bases.odd_value(random)
        elif random.randrange(3) == 0 and isinstance(entry.get("data_offsets"), list):
            entry["data_offsets"] = [random.choice(bases.NUMBERS), random.choice((1e999, -1, 2**64, 3, 1.0))]
        else:
            entry[random.choice((*entry, "more"))] = bases.odd_value(random)
    path.write_bytes(bases.joined(header, numbers))


def safetensors_large(random: Random, path: Path) -> None:
    """A header that costs more than its file: many, deep, long or double names, and a wrong length."""
    count = random.choice((1000, 60_000, 200_000))
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    texts = (
        lambda: b'{"__metadata__":{},"a":[' + b"{}," * (3_000_000 * random.choice((1, 20))) + b"{}]}",
        lambda: b'{"a":' * random.choice((500, 50_000)),
        lambda: b"[" * 100_000,
        lambda: ("{" + ",".join(f'"{n}":{entry}' for n in range(count)) + "}").encode(),
        lambda: ("{" + ",".join(f'"w":{entry}' for _ in range(count)) + "}").encode(),
        lambda: json.dumps({"n" * count: json.loads(entry)}).encode(),
        lambda: b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}',
        lambda: b'{"w":{"dtype":"F32","shape":[' + b"1," * count + b'1],"data_offsets":[0,4]}}',
        lambda: b'{"w":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}}',
    )
    text = random.choice(texts)()
    length = random.choice((None, None, None, 0, 1, len(text) - 1, len(text) + 4, 2**32, 2**63, 2**64 - 1))
    path.write_bytes(bases.joined(text, b"\0" * 4, length))


def archive_bytes(random: Random, path: Path) -> None:
    """A PyTorch file of either form with damage anywhere."""
    content = bases.saved(bases.tensors(random), bool(random.randrange(2)))
    path.write_bytes(random.choice((flipped, flipped, cut))(random, content))


def archive_records(random: Random, path: Path) -> None:
    """An archive packed anew with other records."""
    names = {}
    with zipfile.ZipFile(io.BytesIO(bases.saved(bases.tensors(random), True))) as plain:
        names = {name: plain.read(name) for name in plain.namelist()}
    victim = random.choice(list(names))
    action = random.randrange(8)
    if action == 0:
        del names[victim]
    elif action == 1:
        names[victim] = names[victim][: len(names[victim]) // 2]
    elif action == 2:
        names[victim] = random.randbytes(random.choice((0, 1, 1000)))
    elif action == 3:
        names["archive/constants.pkl"] = b""
    elif action == 4:
        names |= {f"archive/data/x{n}": b"" for n in range(random.choice((10, 70_000)))}
    elif action == 5:
        names = {
            name.replace("archive", random.choice(("..", "a/b", "", "\x1b[1m"))): v
            for name, v in names.items()
        }
    elif action == 6:
        names["other/data.pkl"] = next(iter(names.values()))
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.comment = random.choice((b"", b"", b"note"))
        for name, content in names.items():
            packed.writestr(name, content)
        if action == 7:
            packed.writestr(victim + "", names[victim])


def not_weights(random: Random, path: Path) -> None:
    """Text, pictures, other archives, and what is no plain file."""
    makers = (
        lambda: path.write_bytes(random.randbytes(random.choice((0, 1, 7, 8, 9, 600, 10**5)))),
        lambda: path.write_bytes(
            random.choice((b"<html>", b"{}", b"GGUF", b"\x89PNG", b"\x1f\x8b", b"Rar!"))
        ),
        lambda: path.write_bytes(
            b"\x80" + bytes([random.randrange(7)]) + random.randbytes(random.randrange(200))
        ),
        lambda: path.write_bytes(b"PK\x03\x04" + random.randbytes(random.randrange(2000))),
        lambda: path.write_bytes(b"PK\x05\x06" + b"\0" * 18),
        lambda: path.write_bytes(_tar(random)),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: _socket(path),
        lambda: path.symlink_to(random.choice(("/dev/zero", "/dev/urandom", path, "gone"))),
    )
    random.choice(makers)()


def _tar(random: Random) -> bytes:
    """A tar archive, whose first name may be the beginning of an old PyTorch file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = 20
            tar.addfile(member, io.BytesIO(random.randbytes(20)))
    content = bytearray(buffer.getvalue())
    if random.randrange(2):
        content[:15] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


GENERATORS = {
    safetensors_bytes: 3,
    safetensors_header: 6,
    safetensors_large: 1,
    archive_bytes: 4,
    archive_records: 2,
    not_weights: 2,
}
