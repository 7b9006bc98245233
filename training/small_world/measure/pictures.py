"""Writes plots and contact sheets as small WebP files: they are made again often."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from animatelcm_core.atomic import replacing

from .cells import Cell, thumbs

SCALE = 2
SHOWN = 2  # clips of each cell
LARGEST = 300_000  # bytes of a picture in the repository
QUALITIES = (90, 80, 70, 60, 50)


def save_webp(image: Image.Image, path: Path, largest: int = LARGEST) -> None:
    """Write `image` as WebP of at most `largest` bytes.

    Without loss if it fits; otherwise the quality is lowered first, then the size, until it does.
    """
    image = image.convert("RGB")
    data = encoded(image, lossless=True)
    shrunk = image
    while len(data) > largest:
        for quality in QUALITIES:
            data = encoded(shrunk, quality=quality)
            if len(data) <= largest:
                break
        width, height = (max(1, round(side * 0.85)) for side in shrunk.size)
        shrunk = image.resize((width, height), Image.Resampling.LANCZOS)
    with replacing(path) as file:
        file.write(data)


def encoded(image: Image.Image, **options: Any) -> bytes:
    """The bytes of a WebP file."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def canvas(columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A matplotlib figure without a display, and its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def save_plot(figure: Any, path: Path) -> None:
    """A figure of `canvas` as a picture."""
    figure.set_dpi(110)
    figure.canvas.draw()
    save_webp(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())), path)


def curves(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The lines of a table's plot: name -> its rows, by increasing steps."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        name = row["method"]
        if row["guidance_is"]:
            at = f"guidance {row['guidance']:g}" if row["guidance_is"] == "paper" else "best guidance"
            name = f"{name} {row['spacing']}, {at}"
        lines[name].append(row)
    return {name: sorted(line, key=lambda row: row["steps"]) for name, line in lines.items()}


def plot_table(table: dict[str, Any], path: Path) -> None:
    """Frechet distance and share all right over steps, with 95 % intervals; floor and teacher as levels."""
    figure, axes = canvas(2, (13, 5))
    for axis, key in zip(axes, ("frechet", "all_right"), strict=True):
        for name, line in curves([row for row in table["rows"] if row["method"] != "teacher"]).items():
            steps, values = [row["steps"] for row in line], [row[key] for row in line]
            ends = [row[f"{key}_interval95"] for row in line]
            errors = [[max(0.0, v - low) for v, (low, _) in zip(values, ends, strict=True)]]
            errors.append([max(0.0, high - v) for v, (_, high) in zip(values, ends, strict=True)])
            ours = name.startswith("animatelcm")
            axis.errorbar(
                steps,
                values,
                yerr=errors,
                label=name,
                capsize=2,
                marker="o" if ours else "x",
                linewidth=2 if ours else 1,
                linestyle="--" if "best" in name else "-",
            )
        for row in table["rows"]:
            if row["method"] == "teacher":
                axis.axhline(row[key], color="black", linewidth=1, label="teacher, 25 steps")
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        axis.set_xlabel("steps")
        axis.set_ylabel(key.replace("_", " "))
    axes[0].set_yscale("log")
    floor = table["floors"]["real_versus_real"]["frechet"]
    axes[0].axhline(floor, color="black", linestyle=":", label="real against real")
    axes[0].legend(fontsize=7)
    save_plot(figure, path)


def save_cells(folder: Path, cells: list[Cell], path: Path) -> None:
    """The first clips of each cell, a cell a row, in the order of `cells`."""
    rows = [torch.cat([strip(clip) for clip in thumbs(folder, cell)[:SHOWN]], dim=2) for cell in cells]
    grid = torch.cat(rows, dim=1)
    image = Image.fromarray(grid.permute(1, 2, 0).numpy())
    save_webp(image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST), path)


def save_grid(grid: Tensor, path: Path) -> None:
    """(3, h, w) in 0..1 as a picture of twice the size."""
    array = (grid.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    image = Image.fromarray(array)
    save_webp(image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.LANCZOS), path)


def save_clips(clips: list[Tensor], path: Path) -> None:
    """Clips (f, 3, h, w), one a row, at twice their size."""
    save_grid(torch.cat([strip(clip) for clip in clips], dim=1), path)


def strip(clip: Tensor) -> Tensor:
    """Frames (f, 3, h, w) side by side, (3, h, f w)."""
    return torch.cat(list(clip), dim=2)
