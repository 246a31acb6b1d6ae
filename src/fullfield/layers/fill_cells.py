"""Writes a number into some cells of maps."""

from __future__ import annotations

from torch import Tensor

from fullfield.layers.registry import register_composite


def _fill_cells(x: Tensor, index: Tensor, value: float) -> Tensor:
    """Maps with a number in some cells, in all channels.

    Shape: ``(n, *channels, y, x)``, ``(cells,)`` -> as ``x``
    Args:
        index: of the cells of all maps, counted row by row.
    """
    cells = x.movedim((-2, -1), (1, 2))
    rows = cells.reshape(len(x) * x.shape[-2] * x.shape[-1], -1)
    return rows.index_fill(0, index, value).view(cells.shape).movedim((1, 2), (-2, -1))


def _fill_cells_in_place(x: Tensor, index: Tensor, value: float) -> Tensor:
    """The same in the maps' own memory."""
    cells = x.movedim((-2, -1), (1, 2))
    if not cells.is_contiguous():
        return x.copy_(_fill_cells(x, index, value))
    cells.view(len(x) * x.shape[-2] * x.shape[-1], -1).index_fill_(0, index, value)
    return x


fill_cells = register_composite("fill_cells", "(Tensor x, Tensor index, float value) -> Tensor", _fill_cells)
fill_cells_ = register_composite(
    "fill_cells_", "(Tensor(a!) x, Tensor index, float value) -> Tensor(a!)", _fill_cells_in_place
)
