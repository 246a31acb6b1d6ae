"""Finds the rows and columns of the canonical map in an original tensor: an image, a turned one, or a signal.

original       axes         canonical map
(n, c, y, x)   ("y", "x")   as it is
(n, c, x, y)   ("x", "y")   rows and columns exchanged
(n, c, x)      ("x",)       height one
(n, c, y)      ("y",)       width one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fullfield.canonical.context import Context
from fullfield.canonical.layout import BATCH, CHANNEL, Layout, Symbol
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Const, Mapped


@dataclass(frozen=True)
class Orientation:
    """The axes of the map that the dimensions of an original tensor hold, after windows and channels.

    Args:
        axes: ``("y", "x")``, ``("x", "y")``, ``("x",)`` or ``("y",)``; an axis that is left out has one cell.
    """

    axes: tuple[Symbol, ...]

    def numbers(self, value: Any, other: int) -> list[Any]:
        """Numbers along y and x of an operator on the original dimensions; ``other`` along an axis that is left out.

        Examples:
            >>> Orientation(("x",)).numbers([3], 1), Orientation(("x", "y")).numbers([3, 5], 1)
            ([1, 3], [5, 3])
        """
        given = list(value) if isinstance(value, (list, tuple)) else [value]
        spread = given * len(self.axes) if len(given) == 1 else given
        found = dict(zip(self.axes, spread, strict=True))
        return [found.get("y", other), found.get("x", other)]

    def pads(self, given: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Cells added before and after along y and x, from pairs for the original dimensions, the last one first.

        Examples:
            >>> Orientation(("y", "x")).pads([1, 2, 3, 4]), Orientation(("x",)).pads([1, 2])
            (((3, 4), (1, 2)), ((0, 0), (1, 2)))
        """
        pairs = [(given[k], given[k + 1]) for k in range(0, len(given), 2)]
        found = dict(zip(reversed(self.axes), pairs, strict=False))
        return found.get("y", (0, 0)), found.get("x", (0, 0))

    def map_shape(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Channels, height and width of an original tensor's canonical map."""
        height, width = self.numbers(list(shape[2:]), 1)
        return shape[1], height, width

    def layout(self, shape: Sequence[int]) -> Layout:
        """The layout of a result of such a shape, which has the same axes."""
        return self.of_plain(Layout.plain(*self.map_shape(shape)))

    def of_plain(self, layout: Layout) -> Layout:
        """A plain layout with the original dimensions."""
        return replace(layout, dims=(BATCH, CHANNEL, *((axis,) for axis in self.axes)))

    def kernel(self, context: Context, weight: Const) -> Const:
        """The weight of a convolution over the original dimensions as one over y and x.

        Shape: ``(k, c, size)`` or ``(k, c, size, size)`` -> ``(k, c, y, x)``
        """
        shape = [*weight.shape[:2], *self.numbers(list(weight.shape[2:]), 1)]
        if list(weight.shape) == shape and self.axes != ("x", "y"):
            return weight
        order = (0, 1, 3, 2) if self.axes == ("x", "y") else range(len(weight.shape))
        return context.weight(weight, weight.shape, tuple(order), shape)


def on_map(x: Mapped, does: str) -> tuple[Mapped, Orientation] | Refusal:
    """A value as a plain map, and how its original dimensions lie on it.

    Exact: yes

    Args:
        does: completes the reason for a refusal: ``pools``.
    """
    layout = x.layout
    axes = tuple(dim[0] for dim in layout.dims[2:] if dim in (("x",), ("y",)))
    if layout.dims[1:2] == (CHANNEL,) and len(axes) == len(layout.dims) - 2 > 0:
        plain = replace(layout, dims=Layout.plain(1, 1, 1).dims)
        return replace(x, layout=plain), Orientation(axes)
    return Refusal(f"{does} dimensions that are not (channels, y, x)")
