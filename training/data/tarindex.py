"""Finds each sample's files in a tar from the headers alone; nothing is unpacked.

The index is kept beside the tar (NAME.tar.index.json) where the folder may be written, and made anew when the
tar has another size or date.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from animatelcm_core.atomic import write_text

from .errors import DataError
from .regular import why_irregular


@dataclass(frozen=True)
class Member:
    """Files of one sample: suffix without the dot -> (offset, bytes) in the tar."""

    key: str
    parts: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class TarIndex:
    """Samples in the order of the tar; `damage`: why the rest of it could not be read."""

    members: list[Member]
    damage: str | None = None


def tar_index(path: Path) -> TarIndex:
    """The index of an uncompressed tar, from the file beside it or made now.

    Raises DataError for a missing file and for a member that leads out of its folder.
    """
    trouble = why_irregular(path)
    if trouble:
        raise DataError(f"got a path for the shard {path} that is no file ({trouble}); expected a tar there.")
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    beside = path.with_name(path.name + ".index.json")
    index = _stored(beside, stamp)
    if index is None:
        index = _build(path)
        _store(beside, stamp, index)
    return index


def _stored(beside: Path, stamp: list[int]) -> TarIndex | None:
    if why_irregular(beside):
        return None
    try:
        stored = json.loads(beside.read_text(encoding="utf-8"))
        if stored["stamp"] != stamp:
            return None
        members = [
            Member(m["key"], {name: (int(at), int(size)) for name, (at, size) in m["parts"].items()})
            for m in stored["members"]
        ]
        sound = all(0 <= at <= at + size <= stamp[0] for m in members for at, size in m.parts.values())
        sound &= all(isinstance(member.key, str) for member in members)
        sound &= stored["damage"] is None or isinstance(stored["damage"], str)
        return TarIndex(members, stored["damage"]) if sound else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        # absent, or not ours: made anew
        return None


def _store(beside: Path, stamp: list[int], index: TarIndex) -> None:
    with contextlib.suppress(OSError):  # a read-only folder or a full disk: it is made anew at each start
        write_text(beside, json.dumps({"stamp": stamp, **asdict(index)}))


def _build(path: Path) -> TarIndex:
    from webdataset.tariterators import group_by_keys  # imports a lot: only where tars are read

    damage: list[str] = []
    files = _files(path, damage)
    members: list[Member] = []
    try:
        for sample in group_by_keys(files):
            parts = {suffix: place for suffix, place in sample.items() if not suffix.startswith("__")}
            members.append(Member(sample["__key__"], parts))
    except ValueError as error:  # one name twice
        if isinstance(error, DataError):
            raise
        damage.append(str(error.args[0]))
    return TarIndex(members, damage[0] if damage else None)


def _files(path: Path, damage: list[str]) -> Iterator[dict[str, Any]]:
    """Regular files as group_by_keys expects them, with (offset, bytes) for the content."""
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as opened:
            while (member := opened.next()) is not None:
                _refuse_escape(path, member)
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    damage.append(f"it is cut off in {member.name}")
                    return
                place = (member.offset_data, member.size)
                yield {"fname": member.name, "data": place, "__url__": path.name}
            with path.open("rb") as raw:  # tarfile takes anything that is no header for the end
                raw.seek(opened.offset)
                if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    damage.append(f"it is cut off or damaged at byte {opened.offset} of {size}")
    except DataError:
        raise
    except Exception as error:  # tarfile foresees little of what a header may hold
        damage.append(f"not an uncompressed tar, or a broken one: {error}")


def _refuse_escape(path: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or member.issym() or member.islnk():
        raise DataError(
            f"got the member {member.name!r} in {path}, a link or a name that leads out of its folder; "
            "expected plain files: do not use this tar, or pack it anew from files that you trust."
        )
