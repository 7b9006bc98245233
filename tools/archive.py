"""Lists what artists get from the Comfy registry: files under version control, less .comfyignore.

    python tools/archive.py            prints the files, largest first, and the size of the archive

Standard library and git.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IGNORED = ".comfyignore"
MB = 1_000_000


def main() -> int:
    """Exit status 0."""
    paths = archive_paths()
    for path in sorted(paths, key=size, reverse=True):
        print(f"{size(path):>12,}  {path}")
    total, packed = sum(map(size, paths)), zip_size(paths)
    print(f"\n{len(paths)} files, {total / MB:.1f} MB; the zip archive: {packed / MB:.1f} MB")
    return 0


def archive_paths() -> list[str]:
    """The paths of the archive's files, seen from the root."""
    return sorted(set(_git("ls-files")) - set(_git("ls-files", "--cached", "--ignored", f"-X{IGNORED}")))


def size(path: str) -> int:
    """Bytes of one of the repository's files."""
    return (ROOT / path).stat().st_size


def zip_size(paths: Iterable[str]) -> int:
    """Bytes of a zip with these files, deflated."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(ROOT / path, path)
    return content.tell()


def _git(*arguments: str) -> list[str]:
    """The paths that git prints."""
    command = ["git", *arguments, "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.split("\0") if path]


if __name__ == "__main__":
    sys.exit(main())
