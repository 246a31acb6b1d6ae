"""Runs dilated operators undilated, on fragments of the map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Node

from fullfield.geometry.fragments import Fragments
from fullfield.geometry.strip import Piece, Slide, Strip
from fullfield.lower.writer import Writer
from fullfield.operators.emitter import Strips

aten = torch.ops.aten


def on_fragments(
    to: Writer,
    value: Node,
    strips: Strips,
    cuts: tuple[Fragments, Fragments],
    channels: tuple[int, int],
    emit: Callable[[Node, Strips], Node],
) -> Node:
    """The operator's result on a strip, computed on its fragments, with a few cells too many at the high ends.

    Exact: yes
    Shape: ``(windows, channels[0], y, x)`` -> ``(windows, channels[1], y', x')``
    Args:
        value: the strip, padding included.
        strips: what it is along y and x.
        cuts: how it is cut along y and x.
        channels: of the strip and of the result.
        emit: emits the operator on a batch of fragments.
    """
    y, x = cuts
    before, after = channels
    padding = [0, x.cells * x.ratio - strips[1].length, 0, y.cells * y.ratio - strips[0].length]
    if any(padding):
        value = to.call(aten.constant_pad_nd.default, value, padding, 0.0)
    value = to.call(aten.reshape.default, value, [-1, before, y.cells, y.ratio, x.cells, x.ratio])
    for dim, cut in ((3, y), (5, x)):
        if cut.spacing > 1:
            value = to.call(aten.slice.Tensor, value, dim, 0, cut.ratio, cut.spacing)
    value = to.call(aten.permute.default, value, [3, 5, 0, 1, 2, 4])
    value = to.call(aten.reshape.default, value, [-1, before, y.cells, x.cells])
    plain = [Strip((Piece("interior", 0, c.cells),), Slide(stride=c.stride, dilation=c.dilation)) for c in cuts]
    value = emit(value, (plain[0], plain[1]))
    value = to.call(aten.reshape.default, value, [y.phases, x.phases, -1, after, y.result_cells, x.result_cells])
    value = to.call(aten.permute.default, value, [2, 3, 4, 0, 5, 1])
    return to.call(aten.reshape.default, value, [-1, after, y.computed, x.computed])
