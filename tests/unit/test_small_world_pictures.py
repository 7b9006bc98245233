"""Pictures of results are small: without loss if that fits, else of less quality, then of less size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.small_world.measure.pictures import LARGEST, canvas, save_grid, save_plot, save_webp


def noise(width: int, height: int) -> Image.Image:
    """What compresses worst."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_small_picture_loses_nothing(tmp_path: Path) -> None:
    image = noise(64, 64)
    save_webp(image, tmp_path / "a.webp")
    again = Image.open(tmp_path / "a.webp")
    assert again.format == "WEBP"
    assert np.array_equal(np.asarray(again.convert("RGB")), np.asarray(image))


def test_quality_goes_before_size(tmp_path: Path) -> None:
    image = noise(400, 300)
    save_webp(image, tmp_path / "a.webp", largest=200_000)
    assert (tmp_path / "a.webp").stat().st_size <= 200_000
    assert Image.open(tmp_path / "a.webp").size == (400, 300)


def test_a_large_picture_gets_smaller_until_it_fits(tmp_path: Path) -> None:
    save_webp(noise(640, 480), tmp_path / "a.webp", largest=50_000)
    assert (tmp_path / "a.webp").stat().st_size <= 50_000
    width, height = Image.open(tmp_path / "a.webp").size
    assert 160 < width < 640
    assert abs(width / height - 4 / 3) < 0.02
    assert [path.name for path in tmp_path.iterdir()] == ["a.webp"]


def test_grids_and_plots_are_such_pictures(tmp_path: Path) -> None:
    save_grid(torch.rand(3, 600, 600), tmp_path / "grid.webp")
    figure, axes = canvas(2, (9, 3.5))
    axes[0].plot([1, 2], [3, 4])
    save_plot(figure, tmp_path / "plot.webp")
    for name in ("grid", "plot"):
        assert (tmp_path / f"{name}.webp").stat().st_size <= LARGEST
    assert Image.open(tmp_path / "plot.webp").size == (990, 385)
