"""Grids of labels: the class with the greatest score at each cell, or labels that are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import UnsupportedError
from fullfield.exporters.grid import ExportGrid, cells, class_names
from fullfield.store.maps import ScoreMap
from fullfield.store.palette import distinct
from fullfield.store.reading import argmax_bands

_STRIP = 1 << 18  # cells compared at once: they fit a core's cache


def labelled(grid: ExportGrid) -> ExportGrid:
    """The network's index of the class with the greatest score at each cell; the first of equal ones.

    Raises:
        UnsupportedError: more classes than 16 bits can tell apart.
    """
    _, rows, columns = grid.shape
    dtype = label_type(max(grid.classes))
    fill = np.iinfo(dtype).max
    codes = np.array(grid.classes, dtype)

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        numbers, known = grid.read(top, bottom, left, right), grid.valid(top, bottom, left, right)
        found = np.full((1, *known.shape), fill, dtype)
        strip = max(1, _STRIP // max(1, known.shape[1]))
        for row in range(0, known.shape[0], strip):
            index, real = argmax_bands(iter(numbers[:, row : row + strip]))
            np.copyto(found[0, row : row + strip], codes.take(index), where=real & known[row : row + strip])
        return found

    return replace(
        grid,
        shape=(1, rows, columns),
        dtype=dtype,
        fill=float(fill),
        names=("class",),
        read=read,
        scale=1.0,
        offset=0.0,
        colours=_colours(grid.classes, grid.names),
        cost_bytes=grid.cost_bytes + dtype.itemsize + 2,
    )


def stored_labels(scores: ScoreMap) -> ExportGrid:
    """The cells of a map of labels, with their colours."""
    grid = cells(scores)
    names = class_names(scores)
    classes = scores.spec.classes or tuple(range(len(names)))
    return replace(grid, classes=classes, colours=_colours(classes, names))


def label_type(greatest: int) -> np.dtype[Any]:
    """The smallest unsigned type for labels whose greatest number is free for cells without a label.

    Raises:
        UnsupportedError: 16 bits are not enough.

    Examples:
        >>> label_type(254), label_type(255)
        (dtype('uint8'), dtype('uint16'))
    """
    for name in ("uint8", "uint16"):
        if greatest < np.iinfo(name).max:
            return np.dtype(name)
    raise UnsupportedError(
        "labels", f"class {greatest} is too large for a label of 16 bits", fix="choose classes below 65535"
    )


def _colours(classes: tuple[int, ...], names: tuple[str, ...]) -> tuple[tuple[tuple[int, int, int], str], ...]:
    """Colour and name of each value up to the greatest class; values without a class are grey and have no name."""
    colours = distinct(max(classes) + 1)  # the colour of a class does not depend on which others are stored
    named = dict(zip(classes, names, strict=True))
    return tuple(
        (colours[value], named[value]) if value in named else ((128, 128, 128), "") for value in range(max(classes) + 1)
    )
