"""Joins, splits, slices and softmax over channels of one cell; slices of rows and columns."""

from __future__ import annotations

import sys
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped, Outputs

aten = torch.ops.aten


def concatenate(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``cat`` over channels of maps with the same cells; ``hstack`` is one of the second dimension.

    Exact: yes
    """
    values = [context.value(t) for t in args["tensors"]]
    if not all(isinstance(v, Mapped) for v in values):
        return Refusal("appends values that do not come from the image (a class token, say)")
    first: Layout = values[0].layout
    dim = args.get("dim", 1) % len(first.dims)
    unlike = _unlike([v.layout for v in values])
    if unlike:
        return unlike
    index = first.channel_index(dim)
    if index is None:
        return Refusal("joins positions of the window")
    sizes = list(first.channels)
    sizes[index] = sum(v.layout.channels[index] for v in values)
    result = context.emit(aten.cat.default, [[v.node for v in values], 1 + index], kind="per_cell")
    return Mapped(result, first.with_channels(sizes))


def stack(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``stack`` of maps with the same cells, along a new channel dimension.

    Exact: yes
    """
    values = [context.value(t) for t in args["tensors"]]
    if not all(isinstance(v, Mapped) for v in values):
        return Refusal("stacks values that do not come from the image (a class token, say)")
    first: Layout = values[0].layout
    dim = args["dim"] % (len(first.dims) + 1)
    unlike = _unlike([v.layout for v in values])
    if unlike or dim == 0:
        return unlike or Refusal("moves the batch from the first dimension")
    index = sum("c" in d for d in first.dims[:dim])
    result = context.emit(aten.stack.default, [[v.node for v in values], 1 + index], kind="per_cell")
    return Mapped(result, first.with_channel(dim, len(values)))


def _unlike(layouts: list[Layout]) -> Refusal | None:
    """Why maps cannot be joined along their channels."""
    first = layouts[0]
    if any(other.dims != first.dims or len(other.channels) != len(first.channels) for other in layouts):
        return Refusal("joins tensors whose dimensions are arranged differently")
    if any((o.height, o.width, o.sliding_cells) != (first.height, first.width, first.sliding_cells) for o in layouts):
        return Refusal("joins maps of different sizes")
    return None


def split(context: Context, args: dict[str, Any]) -> Outputs | Refusal:
    """``split`` or ``chunk`` of channels, rows or columns, as slices.

    Exact: yes
    """
    x = context.first
    dim = args["dim"] % len(x.layout.dims)
    sizes = [part.shape[dim] for part in context.result]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return _parts([_part(context, x, dim, a, a + n) for a, n in zip(starts, sizes, strict=True)])


def unbind(context: Context, args: dict[str, Any]) -> Outputs | Refusal:
    """``unbind`` of channels, rows or columns, as slices without the dimension.

    Exact: yes
    """
    x = context.first
    dim = args["dim"] % len(x.layout.dims)
    return _parts([_one(context, x, dim, i) for i in range(x.layout.shape(2)[dim])])


def _parts(items: list[Mapped | Refusal]) -> Outputs | Refusal:
    """Several values, or why one of them is refused."""
    refused = next((item for item in items if isinstance(item, Refusal)), None)
    return refused or Outputs(tuple(item for item in items if isinstance(item, Mapped)))


def take_slice(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A slice of channels, or of rows or columns counted from the window's ends.

    Exact: yes
    """
    x = context.first
    dim = args["dim"] % len(x.layout.dims)
    size = x.layout.shape(2)[dim]
    if dim == 0:
        return x if args["start"] in (None, 0) and args["step"] == 1 else Refusal("slices the batch")
    return _part(context, x, dim, *slice(args["start"], args["end"], args["step"]).indices(size))


def scatter_slice(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``slice_scatter``, as assignments are captured: some channels, or a whole map, replaced by another's.

    Exact: yes
    """
    x, source = context.value(args["self"]), context.value(args["src"])
    if not isinstance(x, Mapped) or not isinstance(source, Mapped) or source.layout.dims != x.layout.dims:
        return Refusal("writes values that do not come from the image, or are arranged differently")
    dim = args["dim"] % len(x.layout.dims)
    size = x.layout.shape(2)[dim]
    start, stop, step = slice(args["start"], args["end"], args["step"]).indices(size)
    if (start, stop, step) == (0, size, 1):
        return source
    index = x.layout.channel_index(dim)
    if index is None:
        return Refusal("writes to some positions of the window only")
    operands = [x, source, 1 + index, start, stop, step]
    return Mapped(context.emit(aten.slice_scatter.default, operands, kind="per_cell"), x.layout)


def select(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """One channel, row, column or token.

    Exact: yes
    """
    x = context.first
    dim = args["dim"] % len(x.layout.dims)
    if dim == 0:
        return Refusal("picks one window of the batch")
    return _one(context, x, dim, int(args["index"]) % x.layout.shape(2)[dim])


def softmax(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Softmax over channels, cell by cell: probabilities follow the channel axis.

    Exact: yes
    """
    x = context.first
    index = x.layout.channel_index(args["dim"] % len(x.layout.dims))
    if index is None:
        return Refusal("takes a softmax over the positions of the window (attention)")
    result = context.emit(context.node.target, [x, 1 + index, *context.node.args[2:]], kind="per_cell")
    return Mapped(result, x.layout)


def halve(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Gated linear unit over channels, or over rows or columns as two slices.

    Exact: yes
    """
    x = context.first
    dim = args["dim"] % len(x.layout.dims)
    index = x.layout.channel_index(dim)
    if index is None:
        half = x.layout.shape(2)[dim] // 2
        first, second = (_part(context, x, dim, start, start + half) for start in (0, half))
        if isinstance(first, Refusal) or isinstance(second, Refusal):
            return first
        gate = context.emit(aten.sigmoid.default, [second], kind="pointwise")
        return Mapped(context.emit(aten.mul.Tensor, [first, gate], kind="pointwise"), first.layout)
    sizes = [c // 2 if i == index else c for i, c in enumerate(x.layout.channels)]
    return Mapped(context.emit(context.node.target, [x, 1 + index], kind="per_cell"), x.layout.with_channels(sizes))


def pool_channels(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``avg_pool3d`` whose kernel spans channels only, as local response norm computes its sums.

    Exact: yes
    """
    node = context.node
    x = context.first
    kernel, stride = list(args["kernel_size"]), list(args["stride"] or args["kernel_size"])
    canonical = x.layout.dims[1:] == (("c",), ("c",), ("y",), ("x",))
    if not canonical or kernel[1:] != [1, 1] or stride[1:] != [1, 1] or any(list(args["padding"])[1:]):
        return Refusal("pools a volume")
    sizes = [x.layout.channels[0], context.shape[2]]
    operands = [x, kernel, stride, *node.args[3:]]
    return Mapped(context.emit(node.target, operands, kind="per_cell"), x.layout.with_channels(sizes))


def _part(context: Context, x: Mapped, dim: int, start: int, stop: int, step: int = 1) -> Mapped | Refusal:
    """A part of an original dimension, which holds channels, rows or columns."""
    if (start, stop, step) == (0, x.layout.shape(2)[dim], 1):
        return x
    index = x.layout.channel_index(dim)
    if index is not None:
        return _slice_channels(context, x, index, start, stop, step)
    axis = x.layout.dims[dim]
    if axis not in (("y",), ("x",)):
        return Refusal("takes a part of dimensions that hold positions and channels")
    return _slice_axis(context, x, axis[0], start, stop, step)


def _slice_axis(context: Context, x: Mapped, axis: str, start: int, stop: int, step: int) -> Mapped:
    """Rows or columns, counted from the window's ends."""
    size = x.layout.size(axis)
    if (start, stop, step) == (0, size, 1):
        return x
    end = sys.maxsize if stop == size else stop - size
    place = len(x.layout.channels) + 1 + (axis == "x")
    result = context.emit(aten.slice.Tensor, [x, place, start, end, step], kind="windowed")
    cells = {"y": x.layout.height, "x": x.layout.width} | {axis: len(range(start, stop, step))}
    return Mapped(result, x.layout.with_cells(cells["y"], cells["x"]))


def _one(context: Context, x: Mapped, dim: int, which: int) -> Mapped | Refusal:
    """One channel, row, column or token, without its dimension."""
    index = x.layout.channel_index(dim)
    if index is not None:
        return _select_channel(context, x, dim, index, which)
    axes = x.layout.spatial(dim)
    if axes is None:
        return Refusal("picks one of dimensions that hold positions and channels")
    places = torch.unravel_index(torch.tensor(which), [x.layout.size(axis) for axis in axes])
    for axis, place in zip(axes, places, strict=True):
        x = _slice_axis(context, x, axis, int(place), int(place) + 1, 1)
    return Mapped(x.node, x.layout.without(dim))


def _slice_channels(context: Context, x: Mapped, index: int, start: int, stop: int, step: int) -> Mapped:
    sizes = [len(range(start, stop, step)) if i == index else c for i, c in enumerate(x.layout.channels)]
    result = context.emit(aten.slice.Tensor, [x, 1 + index, start, stop, step], kind="per_cell")
    return Mapped(result, x.layout.with_channels(sizes))


def _select_channel(context: Context, x: Mapped, dim: int, index: int, which: int) -> Mapped:
    result = context.emit(aten.select.int, [x, 1 + index, which], kind="per_cell")
    return Mapped(result, x.layout.without(dim))


RULES: dict[Any, Any] = {
    **dict.fromkeys((aten.cat.default, aten.concat.default, aten.concatenate.default), concatenate),
    aten.hstack.default: concatenate,
    aten.stack.default: stack,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split,
    aten.chunk.default: split,
    aten.unbind.int: unbind,
    aten.slice.Tensor: take_slice,
    aten.slice_scatter.default: scatter_slice,
    aten.select.int: select,
    aten.softmax.int: softmax,
    aten._softmax.default: softmax,
    aten.log_softmax.int: softmax,
    aten._log_softmax.default: softmax,
    aten.glu.default: halve,
    aten.avg_pool3d.default: pool_channels,
}
