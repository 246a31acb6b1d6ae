"""Pools over the window's map that slide: one around every cell, moved inwards at the edges of the map."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.layers.registry import register_composite

_SCHEMA = "(Tensor x, SymInt[2] kernel_size, bool largest) -> Tensor"


def _sliding_pool(x: Tensor, kernel: Sequence[int], largest: bool) -> Tensor:
    """The mean, or the maximum, of the ``kernel`` cells around each cell; near the edges, of the outermost ones inside.

    On a map as large as the kernel, every cell is the pool of the whole map.

    Shape: ``(n, c, y, x)`` -> the same, for maps of at least the kernel
    Source: Chu et al. 2022 (arXiv 2112.04491), test-time local converter
    """
    for dim, k in ((-2, kernel[0]), (-1, kernel[1])):
        wide = (k, 1) if dim == -2 else (1, k)
        x = F.max_pool2d(x, wide, 1) if largest else _sums(x, dim, k) / k
    (low_y, low_x), (high_y, high_x) = ([k // 2 for k in kernel], [(k - 1) // 2 for k in kernel])
    return F.pad(x, (low_x, high_x, low_y, high_y), mode="replicate")


def _sums(x: Tensor, dim: int, taps: int) -> Tensor:
    """Sums of so many neighbours, from sums of 1, 2, 4, …: few additions, which runtimes support in every type."""
    parts, offset, size = [], 0, 1
    while size <= taps:
        if taps & size:
            parts.append(_without(x, dim, offset, taps - size - offset))
            offset += size
        if 2 * size <= taps:
            x = _without(x, dim, 0, size) + _without(x, dim, size, 0)
        size *= 2
    return functools.reduce(torch.add, parts)


def _without(x: Tensor, dim: int, low: int, high: int) -> Tensor:
    """The map without its first and last cells along one axis."""
    index: list[slice] = [slice(None)] * x.dim()
    index[dim] = slice(low, -high or None)
    return x[tuple(index)]


sliding_pool = register_composite("sliding_pool", _SCHEMA, _sliding_pool)
