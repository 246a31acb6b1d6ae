"""Convolutions and pools over a channel dimension and a line of the map, as networks for electrodes and spectra have.

    original        canonical            rows    columns
    (n, c, f, x)    (n, c, f, 1, x)      f       x
    (n, c, x, f)    (n, c, f, 1, x)      x       f

Each result of the operator along ``f`` reads some of its indices, its taps. They become a dimension of their own, which
a grouped convolution along the line mixes with the channels, and a pool reduces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.layout import BATCH, CHANNEL, Dim, Layout
from fullfield.canonical.orientation import Orientation
from fullfield.canonical.values import Const, Mapped

aten = torch.ops.aten


@dataclass(frozen=True)
class ChannelRows:
    """A map of one line whose last channel dimension counts as rows, or as columns.

    Args:
        x: in canonical form ``(n, c, f, y, x)``.
        at: index of the channel dimension among the two that the operator works on: 0 of ``(n, c, f, x)``.
        line: the axis of the map.
    """

    x: Mapped
    at: int
    line: Orientation

    @property
    def size(self) -> int:
        """Indices of the channel dimension."""
        return self.x.layout.channels[1]

    def split(self, value: Any) -> tuple[Any, Any]:
        """An operator's numbers along the channel dimension and along the line."""
        given = list(value) if isinstance(value, (list, tuple)) else [value]
        first, last = given * 2 if len(given) == 1 else given
        return (first, last) if self.at == 0 else (last, first)

    def along_line(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a pool, of its numbers those along the line."""
        kernel = args["kernel_size"]
        given = {"kernel_size": kernel, "stride": args["stride"] or kernel, "padding": args["padding"]}
        given |= {"dilation": args["dilation"]} if "dilation" in args else {}
        return {**args, **{name: [self.split(value)[1]] for name, value in given.items()}}

    def layout(self, shape: Sequence[int]) -> Layout:
        """The layout of a result of such a shape; a single index of the channel dimension is an axis of one cell."""
        rows, cells = self.split(list(shape[2:]))
        other: Dim = ("y",) if self.line.axes == ("x",) else ("x",)
        held = other if rows == 1 else CHANNEL
        dims = (held, self.line.axes) if self.at == 0 else (self.line.axes, held)
        channels = (shape[1],) if rows == 1 else (shape[1], rows)
        height, width = self.line.numbers([cells], 1)
        return Layout((BATCH, CHANNEL, *dims), channels, height, width)


@dataclass(frozen=True)
class Taps:
    """What an operator reads along the channel dimension: result ``k`` reads ``k * stride + j * dilation - padding``.

    Args:
        count: taps of each result.
        stride, dilation, padding: as of the operator.
        results: their number.
    """

    count: int
    stride: int
    dilation: int
    padding: int
    results: int

    @property
    def reach(self) -> int:
        """Indices from the first to the last that is read, padding counted."""
        return (self.results - 1) * self.stride + (self.count - 1) * self.dilation + 1


def channel_rows(context: Context, x: Mapped) -> ChannelRows | None:
    """A value whose last two original dimensions are channels and the line of a map; ``None`` for others."""
    layout = x.layout
    if len(layout.dims) != 4 or layout.sliding_cells or CHANNEL not in layout.dims[2:]:
        return None
    at = layout.dims[2:].index(CHANNEL)
    axis = layout.dims[3 - at]
    first = layout.dims[1]
    if axis not in (("x",), ("y",)):
        return None
    other: Dim = ("y",) if axis == ("x",) else ("x",)
    if layout.size(other[0]) != 1 or first not in (CHANNEL, other):
        return None
    dims = (BATCH, CHANNEL, *layout.dims[2:])
    channels = layout.channels if first == CHANNEL else (1, *layout.channels)
    changed = replace(layout, dims=dims, channels=channels)
    return ChannelRows(context.to_channels(x, changed, range(len(layout.channels))), at, Orientation(axis))


def taken_apart(context: Context, rows: ChannelRows, taps: Taps) -> Mapped:
    """The taps as a channel dimension of their own. Canonical shape: ``(n, c, f, y, x)`` -> ``(n, c, taps, f', y, x)``

    Exact: yes
    """
    node, size, channels = rows.x.node, rows.size, rows.x.layout.channels[0]
    layout = replace(rows.x.layout, dims=(BATCH, CHANNEL, CHANNEL, CHANNEL, rows.line.axes))
    layout = layout.with_channels([channels, taps.count, taps.results])
    every = (taps.count == 1 and taps.stride == 1) or (taps.results == 1 and taps.dilation == 1)
    if every and taps.count * taps.results == size and not taps.padding:
        return context.to_channels(rows.x, layout, (0, 1))
    after = taps.reach - taps.padding - size
    if taps.padding or after > 0:
        pads = [0, 0, 0, 0, taps.padding, max(0, after)]
        node = context.emit(aten.constant_pad_nd.default, [node, pads, 0.0], kind="per_cell")
    parts = []
    for tap in range(taps.count):
        start = tap * taps.dilation
        stop = start + (taps.results - 1) * taps.stride + 1
        parts.append(context.emit(aten.slice.Tensor, [node, 2, start, stop, taps.stride], kind="per_cell"))
    stacked = context.emit(aten.stack.default, [parts, 2], kind="per_cell")
    return Mapped(stacked, layout)


def convolve_rows(context: Context, rows: ChannelRows, args: dict[str, Any], weight: Const) -> Mapped:
    """A convolution over the channel dimension and the line: for each result along the former a group along the line.

    Exact: yes, other summation order
    Shape: ``(n, c, f, x)`` -> ``(n, k, f', x')``
    """
    (count, length), groups = rows.split(list(weight.shape[2:])), args["groups"]
    (stride, along), (dilation, apart) = rows.split(args["stride"]), rows.split(args["dilation"])
    results, _ = rows.split(list(context.shape[2:]))
    if isinstance(args["padding"], str):
        totals = [dilation * (count - 1), apart * (length - 1)] if args["padding"] == "same" else [0, 0]
        low, pads = totals[0] // 2, (totals[1] // 2, totals[1] - totals[1] // 2)
    else:
        low, padding = rows.split(args["padding"])
        pads = (padding, padding)
    parts = taken_apart(context, rows, Taps(count, stride, dilation, low, results))
    channels, kernels = parts.layout.channels[0], weight.shape[0]
    flat = context.to_channels(parts, parts.layout.with_channels([results * channels * count]), (2, 0, 1))
    node = flat.node
    if pads[0] != pads[1]:
        (top, bottom), (left, right) = rows.line.pads(pads)
        node = context.emit(aten.constant_pad_nd.default, [node, [left, right, top, bottom], 0.0], kind="windowed")
        pads = (0, 0)
    order = (0, 1, 2, 3) if rows.at == 0 else (0, 1, 3, 2)
    shape = [kernels, channels // groups * count, *rows.line.numbers([length], 1)]
    kernel, bias = context.weight(weight, weight.shape, order, shape).node, context.value(args["bias"])
    if results > 1:
        kernel = context.emit(aten.repeat.default, [kernel, [results, 1, 1, 1]], kind="const")
        bias = None if bias is None else context.emit(aten.repeat.default, [bias, [results]], kind="const")
    numbers = [rows.line.numbers([value], other) for value, other in ((along, 1), (pads[0], 0), (apart, 1))]
    result = context.emit(aten.conv2d.default, [node, kernel, bias, *numbers, results * groups], kind="windowed")
    after = rows.layout(context.shape)
    wide = after.with_channels([results, kernels])
    split = context.to_channels(Mapped(result, after.with_channels([results * kernels])), wide, [0])
    return context.to_channels(split, after, (1, 0))


def pool_rows(context: Context, rows: ChannelRows, taps: Taps, name: str) -> Mapped | None:
    """The greatest or the mean of the taps along the channel dimension; ``None`` where they are not all inside.

    Exact: yes, other summation order
    Shape: ``(n, c, f, x)`` -> ``(n, c*f', x)``, one channel dimension and a line

    Args:
        name: ``max`` or ``mean``.
    """
    if taps.padding or taps.reach > rows.size:
        return None
    parts = taken_apart(context, rows, taps)
    target = aten.amax.default if name == "max" else aten.mean.dim
    node = context.emit(target, [parts, [2], False], kind="per_cell")
    channels = parts.layout.channels[0]
    layout = replace(parts.layout, dims=(BATCH, CHANNEL, CHANNEL, rows.line.axes), channels=(channels, taps.results))
    flat = replace(layout, dims=(BATCH, CHANNEL, rows.line.axes), channels=(math.prod(layout.channels),))
    return context.to_channels(Mapped(node, layout), flat, (0, 1))
