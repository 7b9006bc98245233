"""Data for training: folders, CSVs, WebDataset tars and cached latents -> samples -> batches.

    loader = Loader(open_dataset(config), Stream(seed=0, batch=4, start=position))

The stream of samples depends on the seed and the position only: not on workers, processes or restarts.
"""

from __future__ import annotations

from .cache import CachedDataset, CacheMeta, CacheWriter
from .config import Cached, DataConfig, Images, Shards, Videos
from .errors import DataError, UnreadableMedia
from .folders import ImageFolder, VideoFolder
from .loader import Loader, Stream
from .media import read_clip, read_image
from .sample import Batch, Dataset, Sample, collate
from .webshards import WebShards

__all__ = [
    "Batch",
    "CacheMeta",
    "CacheWriter",
    "Cached",
    "CachedDataset",
    "DataConfig",
    "DataError",
    "Dataset",
    "ImageFolder",
    "Images",
    "Loader",
    "Sample",
    "Shards",
    "Stream",
    "UnreadableMedia",
    "VideoFolder",
    "Videos",
    "WebShards",
    "collate",
    "open_dataset",
    "read_clip",
    "read_image",
]


def open_dataset(config: Cached | Videos | Images | Shards, fingerprint: str | None = None) -> Dataset:
    """The data set that a config describes. Raises DataError.

    fingerprint: of the VAE and text model in use, for cached data; None: any.
    """
    if isinstance(config, Cached):
        return CachedDataset(config.path, fingerprint)
    if isinstance(config, Videos):
        return VideoFolder(config)
    if isinstance(config, Images):
        return ImageFolder(config)
    return WebShards(config)
