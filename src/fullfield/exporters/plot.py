"""Writes the scores of a signal as a plot over time: a line a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullfield.drawing.line_plot import PlotLine, draw_lines
from fullfield.drawing.pictures import encode_picture
from fullfield.engine.progress import OnProgress
from fullfield.exporters.grid import ExportGrid, blocks, with_progress
from fullfield.files import replacing
from fullfield.store.palette import distinct

_GROUPS = 2000  # of windows at most, about the plot's width in px
_LINES = 10  # at most: more are no longer told apart
_BLOCK = 4096
_BYTES = 1 << 20


def write_plot(grid: ExportGrid, path: Path, *, overwrite: bool = False, progress: OnProgress | None = None) -> None:
    """Draws a line for each class, or for the ten with the greatest scores, over the centres of the windows.

    The time is in seconds where the sample rate is known, else in samples. More than 2000 windows are drawn in groups,
    from the least to the greatest score of each. Of labels, the line of a class is 1 where it is the top class.

    Args:
        grid: of a signal.
        path: of the file; checked already.
        overwrite: replace an earlier file.
        progress: called after every block.

    Raises:
        ImageError: matplotlib is not installed, or no space.
    """
    assert grid.signal is not None
    x, low, high = _grouped(grid, progress)
    rate = grid.signal.sample_rate
    top = _greatest(high)
    left_out = len(high) - len(top)
    names = grid.names if grid.colours is None else tuple(grid.colours[cls][1] for cls in grid.classes)
    colours = distinct(max(grid.classes) + 1)
    picture = draw_lines(
        x if rate is None else x / rate,
        [PlotLine(names[band], colours[grid.classes[band]], low[band], high[band]) for band in top],
        title=Path(grid.image).name if Path(grid.image).suffix else "",
        x_title="samples" if rate is None else "time, s",
        y_title="top class" if grid.colours is not None else json.loads(grid.metadata)["activation"] or "score",
        remark=f"{left_out} more have lower scores" if left_out else "",
    )
    with replacing(path, overwrite=overwrite, needed_bytes=_BYTES) as place:
        encode_picture(picture, place)


def _grouped(
    grid: ExportGrid, progress: OnProgress | None
) -> tuple[NDArray[np.float64], NDArray[np.floating], NDArray[np.floating]]:
    """Centres of groups of windows, samples, and the least and greatest score of each class in them, NaN for none."""
    _, rows, columns = grid.shape
    size = -(-columns // _GROUPS)
    starts = np.arange(0, columns, size)
    stops = np.minimum(starts + size, columns)
    lines = len(grid.classes) if grid.colours is not None else grid.shape[0]
    low, high = (np.full((lines, len(starts)), value) for value in (np.inf, -np.inf))
    for top, bottom, left, right in with_progress(blocks(grid, _BLOCK), rows * columns, progress, unit="px"):
        numbers = grid.read(top, bottom, left, right)[:, 0]
        if grid.colours is not None:
            found = (numbers[0] == np.array(grid.classes)[:, None]).astype(np.float32)
            found[:, numbers[0] == grid.fill] = np.nan
        else:
            found = grid.decoded(numbers)
        group = np.arange(left, right) // size
        for band, values in enumerate(found):
            np.fmin.at(low[band], group, values)
            np.fmax.at(high[band], group, values)
    none = high < low
    low[none], high[none] = np.nan, np.nan
    return grid.origin[1] + (starts + stops) / 2 * grid.spacing[1], low, high


def _greatest(high: NDArray[np.floating]) -> list[int]:
    """The lines with the greatest scores, in their order."""
    peaks = np.nan_to_num(np.nanmax(np.where(np.isnan(high), -np.inf, high), axis=1), neginf=-np.inf)
    return sorted(np.argsort(-peaks, kind="stable")[:_LINES].tolist())
