"""Rearranges channels into blocks of cells: pixel shuffle with one factor for each axis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fullfield.layers.registry import register_composite


def _depth_to_space(x: Tensor, factors: Sequence[int], inside: Sequence[int] = (0, 0, 0, 0)) -> Tensor:
    """Blocks of cells from channels; the position within a block is the fastest index of the channels.

    Shape: ``(n, c*fy*fx, y, x)`` -> ``(n, c, y*fy, x*fx)``
    Args:
        inside: for the geometry alone: cells, in the blocks at the top, bottom, left and right that depend on padding,
            which do not themselves.
    Source: Shi et al. 2016 (arXiv 1609.05158), section 3.2, for one factor
    """
    (n, c, height, width), (fy, fx) = x.shape, factors
    apart = x.reshape(n, c // (fy * fx), fy, fx, height, width)
    return apart.permute(0, 1, 4, 2, 5, 3).reshape(n, c // (fy * fx), height * fy, width * fx)


depth_to_space = register_composite(
    "depth_to_space", "(Tensor x, SymInt[2] factors, int[4] inside=[0, 0, 0, 0]) -> Tensor", _depth_to_space
)
