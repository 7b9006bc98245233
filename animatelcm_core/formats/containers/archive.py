"""PyTorch's zip archives, looked over before PyTorch opens one: complete, plain, and every record its own."""

from __future__ import annotations

import errno
import struct
import zipfile
from pathlib import Path
from typing import IO

from ..errors import DOWNLOAD_AGAIN, FormatError
from ..limits import MAX_DIRECTORY, MAX_ENTRIES, MAX_PICKLE
from ..words import shown

SAFER = "Get a .safetensors version, which cannot hold code, or a file from a source you trust."
_END, _END64, _LOCATOR = 22, 56, 20  # bytes of the records at the end of an archive
_LOCAL = 30  # bytes before the name of a record


def contents(path: Path) -> tuple[bytes, dict[str, int]]:
    """The archive's data.pkl, and the sizes of its storages by their keys.

    FormatError unless the archive is complete, uncompressed and PyTorch's.
    """
    try:
        size = _directory_size(path)
        if size > MAX_DIRECTORY:
            raise FormatError(
                f"{path.name} with a list of records of {size:,} bytes", f"at most {MAX_DIRECTORY:,}"
            )
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            main = _check_records(path, records)
            _check_places(path, records, archive.start_dir)
            text = archive.read(main)
    except FormatError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the file
            raise
        # BadZipFile, and more than a few others for damaged directories
        raise FormatError(
            f"{path.name}, cut off after {path.stat().st_size:,} bytes, or damaged: its end is missing",
            "a complete PyTorch file",
            DOWNLOAD_AGAIN,
        ) from error
    data = main.filename.removesuffix("data.pkl") + "data/"
    sizes = {r.filename[len(data) :]: r.file_size for r in records if r.filename.startswith(data)}
    return text, sizes


def _directory_size(path: Path) -> int:
    """Bytes of the list of records, by the archive's last record, which ends with the file."""
    with path.open("rb") as file:
        end = _last(file, _END, _END, b"PK\x05\x06")
        if end is None or end[-2:] != b"\0\0":
            raise zipfile.BadZipFile("no end")
        before = _END + _LOCATOR
        if _last(file, before, _LOCATOR, b"PK\x06\x07") is None:
            return struct.unpack_from("<I", end, 12)[0]
        end = _last(file, before + _END64, _END64, b"PK\x06\x06")
        if end is None:
            raise zipfile.BadZipFile("no end")
        return struct.unpack_from("<Q", end, 40)[0]


def _last(file: IO[bytes], before: int, count: int, sign: bytes) -> bytes | None:
    """The record that begins `before` bytes before the end, if it is one of this kind."""
    size = file.seek(0, 2)
    if size < before:
        return None
    file.seek(size - before)
    record = file.read(count)
    return record if record.startswith(sign) else None


def _check_records(path: Path, records: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """The record of the pickle; FormatError for an archive that is not PyTorch's, or compressed."""
    by_end: dict[str, list[zipfile.ZipInfo]] = {}
    for record in records:
        by_end.setdefault(record.filename.rpartition("/")[2], []).append(record)
    if "data.pkl" not in by_end:
        raise FormatError(
            f"the zip archive {path.name}", "a PyTorch file", "Unpack it and use the file inside."
        )
    if "constants.pkl" in by_end:
        raise FormatError(f"{path.name}, a TorchScript program", "weights; a program is not run", SAFER)
    stored = sum(record.file_size for record in records)
    if any(record.compress_type for record in records) or stored > path.stat().st_size:
        raise FormatError(
            f"{path.name} with compressed records", "PyTorch's uncompressed archive", DOWNLOAD_AGAIN
        )
    if len(records) > MAX_ENTRIES or len({r.filename for r in records}) < len(records):
        raise FormatError(
            f"{path.name} with {len(records):,} records, or two of one name",
            f"at most {MAX_ENTRIES:,} of different names",
            DOWNLOAD_AGAIN,
        )
    main = by_end["data.pkl"]
    if len(main) > 1 or main[0].file_size > MAX_PICKLE:
        raise FormatError(
            f"{path.name} with {len(main)} pickles of {main[0].file_size:,} bytes",
            f"one of at most {MAX_PICKLE:,}",
            DOWNLOAD_AGAIN,
        )
    return main[0]


def _check_places(path: Path, records: list[zipfile.ZipInfo], end: int) -> None:
    """FormatError unless each record ends before the next one begins: mapped from disk, it would give that
    one's bytes."""
    records = sorted(records, key=lambda record: record.header_offset)
    ends = [*(record.header_offset for record in records[1:]), end]
    with path.open("rb") as file:
        for record, last in zip(records, ends, strict=True):
            file.seek(record.header_offset)
            head = file.read(_LOCAL)
            if head[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile("no record")
            name, extra = struct.unpack_from("<HH", head, 26)
            told = file.read(name).decode("utf-8", "replace")
            begin = record.header_offset + _LOCAL + name + extra
            if told != record.filename or begin + record.file_size > last:
                raise FormatError(
                    f"{path.name}, which is damaged at its record {shown(record.filename)}",
                    "a complete PyTorch file",
                    DOWNLOAD_AGAIN,
                )
