"""Keeps maps in channels-last memory where torch would give another order, in which all later operators are slow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from fullfield.lower.inplace import NEW_MEMORY

aten = torch.ops.aten


def keep_channels_last(module: GraphModule) -> GraphModule:
    """The module with gathers of rows and columns that keep the memory order of maps; changed in place."""
    for node in module.graph.find_nodes(op="call_function", target=aten.index_select.default):
        if node.args[1] in (-2, -1):  # of a map; tables of rows are gathered along 0
            node.target = select_cells
            node.meta[NEW_MEMORY] = True
    module.recompile()
    return module


def select_cells(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows (``dim`` -2) or columns (-1) of maps in the order of ``index``, channels side by side in memory.

    What a network selects from vectors and tokens has no channels in front of its cells, and stays as it is.

    Shape: ``(n, *channels, y, x)`` -> ``(n, *channels, y', x)`` or ``(n, *channels, y, x')``
    """
    if x.dim() < 4:
        return torch.index_select(x, dim, index)
    cells_last = x.movedim((-2, -1), (1, 2))
    return torch.index_select(cells_last, dim + 3, index).movedim((1, 2), (-2, -1))
