"""Small packages for pip."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, files: dict[str, str]) -> str:
    """A small package `carrier` with `files`; returns the SHA-256 of the wheel."""
    folder.mkdir(exist_ok=True)
    wheel, info = folder / "carrier-1.0-py3-none-any.whl", "carrier-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\nRequires-Python: >=99\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(wheel, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        opened.writestr(f"{info}/RECORD", record)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()
