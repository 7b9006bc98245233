"""Tells what a file is by its first bytes, before any library opens it.

Downloads that went wrong (a web page, a Git LFS pointer, nothing at all) carry the right name and the wrong
bytes. The name decides nothing: a safetensors file renamed to .ckpt is still one.
"""

from __future__ import annotations

import errno
import stat
import tarfile
from pathlib import Path
from typing import Literal

from ..errors import DOWNLOAD_AGAIN, FormatError

HEAD_BYTES = 512
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

_TEXT = {  # start of the text in lower case -> what such a file is
    b"version https://git-lfs": "a Git LFS pointer (a note about the file, not the file itself)",
    b"<?xml": "an XML answer of a web server",
    b"<": "a web page",
}
_BINARY = {
    b"GGUF": "a GGUF file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
}


def container(path: Path) -> Literal["safetensors", "zip", "pickle"]:
    """How the weights in `path` are stored; FormatError if they are not those of a weights file."""
    head = _read_head(path)
    if _is_tar(head):
        raise FormatError(
            f"the tar archive {path.name}", "weights", "Unpack it, or get a .safetensors version."
        )
    # Safetensors first: the low byte of its header length may look like the start of a text.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if foreign := _foreign(head):
        raise FormatError(f"{foreign} named {path.name}", "weights", DOWNLOAD_AGAIN)
    if path.suffix.lower() == ".safetensors":
        return "safetensors"  # its own check says what is wrong with the header
    raise FormatError(
        f"{path.name}, which starts with {head[:8].hex(' ')}",
        "weights (.safetensors, or .ckpt, .pt, .pth, .bin of PyTorch)",
        DOWNLOAD_AGAIN,
    )


def require_file(path: Path) -> None:
    """FormatError unless there is a plain file. To open a named pipe or a device could wait for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError) and error.errno not in _NO_FILE:
            raise
        raise FormatError(f"no file at {path}", "a weights file", "Check the name and the folder.") from error
    if stat.S_ISDIR(mode):
        raise FormatError(f"the folder {path.name}", "a weights file", "Name the file inside it.")
    if not stat.S_ISREG(mode):
        raise FormatError(
            f"{path.name}, which is a pipe, a socket or a device", "a weights file", "Choose a plain file."
        )


def _read_head(path: Path) -> bytes:
    require_file(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise FormatError(f"the empty file {path.name}", "a weights file", DOWNLOAD_AGAIN)
    return head


def _is_tar(head: bytes) -> bool:
    """Whether this is a tar archive's first block: its check sum is right, whatever name it begins with."""
    if len(head) < HEAD_BYTES or not head[148:154].strip(b" \0").isalnum():
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _foreign(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, what in _TEXT.items():
        if text.startswith(start):
            return what
    for start, what in _BINARY.items():
        if head.startswith(start):
            return what
    return "a JSON text" if text[:1] in (b"{", b"[") else None
