"""Writes small maps as pictures: labels in their colours, scores in a colour map, with a legend as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fullfield.drawing.colours import paint
from fullfield.drawing.pictures import encode_picture
from fullfield.engine.progress import OnProgress
from fullfield.errors import BudgetError, ImageError
from fullfield.exporters.grid import ExportGrid, blocks, with_progress
from fullfield.files import check_writable, replacing
from fullfield.image.decode import pixel_limit

_BLOCK = 512
_PIXEL_BYTES = (
    28  # besides the stored number: the score in floats, its place among the colours, the colour, the row of the file
)
_MOST = 4 << 30


def write_picture(
    grid: ExportGrid,
    path: Path,
    *,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    colours: str = "viridis",
) -> None:
    """Writes labels, or the scores of one class, a pixel a cell of the grid; the legend goes to ``….legend.json``.

    Labels of up to 255 classes have a palette; more become RGBA. Scores are coloured from the least to the greatest.
    Cells without a class or score are transparent; JPEG shows them black.

    Args:
        grid: what to draw.
        path: of the file; checked already.
        overwrite: replace earlier files.
        progress: called after every block.
        colours: viridis, magma, inferno or gray.

    Raises:
        ImageError: more than one band, more pixels than pictures are read with, or no space.
        BudgetError: it takes more memory than the budget, or than 4 GiB.
    """
    bands, rows, columns = grid.shape
    limit = pixel_limit()
    if rows * columns > limit:
        what = f"a picture of {rows}x{columns} px is more than the {limit} that a picture may have"
        raise ImageError(str(path), what, fix="write .tif, or choose a smaller resolution")
    if bands != 1:
        raise ImageError(
            str(path),
            f"a picture shows one class, there are {bands}",
            fix="pass one of classes (--class), or labels=True (--labels)",
        )
    needed = rows * columns * (grid.dtype.itemsize + _PIXEL_BYTES)
    allowed = _MOST if grid.budget_bytes is None else min(_MOST, grid.budget_bytes)
    if needed > allowed:
        what = f"a picture of {rows}x{columns} px needs {needed} bytes of memory, {allowed} are allowed"
        raise BudgetError(str(path), what, fix="write .tif, or choose a smaller resolution")
    side = check_writable(legend_path(path), overwrite, suffixes=(".json",))
    numbers = np.empty((rows, columns), grid.dtype)
    for top, bottom, left, right in with_progress(blocks(grid, _BLOCK), rows * columns, progress, unit="px"):
        numbers[top:bottom, left:right] = grid.read(top, bottom, left, right)[0]
    picture, legend = _labels(grid, numbers) if grid.colours is not None else _scores(grid, numbers, colours)
    legend |= {"origin": grid.origin, "spacing": grid.spacing}
    with (
        replacing(side, overwrite=overwrite, needed_bytes=1 << 16) as beside,
        replacing(path, overwrite=overwrite, needed_bytes=4 * rows * columns) as place,
    ):
        encode_picture(picture, place)
        beside.write_text(json.dumps(legend, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def legend_path(path: Path) -> Path:
    """Path of a picture's legend.

    Examples:
        >>> legend_path(Path("map.png")).name
        'map.legend.json'
    """
    return path.with_suffix(".legend.json")


def _labels(grid: ExportGrid, numbers: Any) -> tuple[Image.Image, dict[str, Any]]:
    assert grid.colours is not None
    legend = [
        {"value": value, "name": name, "color": list(colour)}
        for value, (colour, name) in enumerate(grid.colours)
        if value in grid.classes
    ]
    table = np.zeros((int(grid.fill) + 1, 4), np.uint8)
    table[: len(grid.colours)] = [(*colour, 255) for colour, _ in grid.colours]
    if grid.dtype != np.uint8:
        return Image.fromarray(table[numbers]), {"classes": legend}
    picture = Image.fromarray(numbers)
    picture.putpalette(table[:, :3].tobytes())
    picture.info["transparency"] = int(grid.fill)
    return picture, {"classes": legend, "none": int(grid.fill)}


def _scores(grid: ExportGrid, numbers: Any, colours: str) -> tuple[Image.Image, dict[str, Any]]:
    values = grid.decoded(numbers)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    alpha = np.where(np.isnan(values), 0, 255).astype(np.uint8)
    picture = Image.fromarray(np.dstack([paint(values, colours, (low, high)), alpha]))
    return picture, {"class": grid.names[0], "colours": colours, "least": low, "greatest": high}
