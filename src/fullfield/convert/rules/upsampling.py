"""Upsampling: every cell becomes a block of cells. It stays, for windows that are whole cells apart."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.layout import Layout
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Rewriter

aten = torch.ops.aten


def nearest(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``upsample_nearest2d`` by whole factors: each cell repeated.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y*fy, x*fx)``
    """
    x = rewriter.value(next(iter(args.values())))
    if not x.layout.is_plain:
        return Refusal("upsamples dimensions that are not (channels, y, x)")
    if x.layout.slides:
        return Refusal("spreads the one value of a window over a map")
    _, channels, height, width = rewriter.shape(node)
    factors = [height // x.layout.height, width // x.layout.width]
    places = torch.arange(x.layout.height * x.layout.width, dtype=torch.float64)
    cells = places.reshape(1, 1, x.layout.height, x.layout.width)
    repeated = cells.repeat_interleave(factors[0], 2).repeat_interleave(factors[1], 3)
    found = node.target(cells, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    if not torch.equal(found, repeated):
        return Refusal(f"upsamples {x.layout.height}x{x.layout.width} cells unevenly to {height}x{width}")
    if factors == [1, 1]:
        assert isinstance(x, Mapped)
        return x
    operands = [x, None, [float(f) for f in factors]]
    result = rewriter.emit(aten.upsample_nearest2d.vec, operands, kind="windowed")
    return Mapped(result, Layout.plain(channels, height, width))


def depth_to_space(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``pixel_shuffle``: channels become the places within a block of cells.

    Exact: yes
    Shape: ``(n, c*f*f, y, x)`` -> ``(n, c, y*f, x*f)``
    """
    x = rewriter.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("rearranges dimensions that are not (channels, y, x)")
    if x.layout.slides:
        return Refusal("spreads the one value of a window over a map")
    result = rewriter.emit(aten.pixel_shuffle.default, [x, args["upscale_factor"]], kind="windowed")
    return Mapped(result, Layout.plain(*rewriter.shape(node)[1:]))


RULES: dict[Any, Any] = {
    aten.upsample_nearest2d.vec: nearest,
    aten.upsample_nearest2d.default: nearest,
    aten._upsample_nearest_exact2d.vec: nearest,
    aten._upsample_nearest_exact2d.default: nearest,
    aten.pixel_shuffle.default: depth_to_space,
}
