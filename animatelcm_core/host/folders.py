"""The host's folders of model files, shared with the other packs that know them."""

from __future__ import annotations

import os
from contextlib import suppress

import folder_paths

MOTION_MODELS = "animatediff_models"
LORAS = "loras"
NONE = "none"
MOST_LETTERS = 1000  # of a name that is none


def register() -> None:
    """Make `models/animatediff_models` known to the host.

    Another pack or extra_model_paths.yaml may have done so first: folders and file types are added, not
    replaced.
    """
    folder = os.path.join(folder_paths.models_dir, MOTION_MODELS)
    folder_paths.add_model_folder_path(MOTION_MODELS, folder)
    folder_paths.folder_names_and_paths[MOTION_MODELS][1].update(folder_paths.supported_pt_extensions)
    with suppress(OSError):  # a place to put files into; a read-only disk goes without
        os.makedirs(folder, exist_ok=True)


def places(key: str) -> list[str]:
    """Every folder that holds files of this kind."""
    return folder_paths.get_folder_paths(key)


def names(key: str) -> list[str]:
    """Names of the files in these folders, for a node's list."""
    return folder_paths.get_filename_list(key)


def path_of(key: str, name: str) -> str:
    """Where the file `name` is. Raises FileNotFoundError."""
    return folder_paths.get_full_path_or_raise(key, name)


def fingerprint(key: str, name: str) -> str:
    """Changes when the file is replaced, so that the host loads it anew."""
    path = folder_paths.get_full_path(key, name) if isinstance(name, str) else None
    if path is None:
        return str(name)[:MOST_LETTERS]
    stat = os.stat(path)
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
