"""Maps ONNX operators that write numbers to given places of a tensor, or read them from there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, listed

aten = torch.ops.aten

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
Columns = list[OnnxValue | None]


@operator("ScatterElements", "Scatter")
def scatter_elements(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input with numbers written to given places along an axis, one place for each number."""
    x, updates = call.input(0), call.input(2)
    axis = call.integer("axis", 0) % len(x.shapes[0])
    indices = counted_from_start(b, call.buffer(1), x.shapes[0][axis])
    low, high = (
        [max(sizes) for sizes in zip(*shapes, strict=True)]
        for shapes in zip(indices.shapes, updates.shapes, strict=True)
    )
    if axis == 0 and x.shapes[0][0] != x.shapes[1][0]:
        raise LayerRefused("writes along the batch")
    if axis and low[0] == 1:
        low[0], high[0] = x.shapes[0][0], x.shapes[1][0]
    x, indices, updates = _batched(b, x, (low, high)), b.expand(indices, (low, high)), b.expand(updates, (low, high))
    how = call.text("reduction", "none")
    if how == "none":
        return b.call(aten.scatter.src, x, axis, indices, updates)
    if how not in _REDUCTIONS:
        raise LayerRefused(f"reduction {how!r}")
    return b.call(aten.scatter_reduce.two, x, axis, indices, updates, _REDUCTIONS[how])


@operator("ScatterND")
def scatter_nd(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input with numbers or blocks written to constant places along its first axes."""
    x, updates, how = call.input(0), call.input(2), call.text("reduction", "none")
    if how not in ("none", *_REDUCTIONS):
        raise LayerRefused(f"reduction {how!r}")
    places = columns(b, x, call.known(1))
    wanted = None if places[0] is not None else updates.shapes
    if wanted is not None:
        x = _batched(b, x, wanted)
    if how in ("none", "add"):
        return b.call(aten.index_put.default, x, places, updates, how == "add")
    return _reduced(b, x, places, updates, _REDUCTIONS[how])


def _reduced(b: AtenBuilder, x: OnnxValue, places: Columns, updates: OnnxValue, how: str) -> OnnxValue:
    """``x`` with numbers or blocks reduced into it, by places along its first axes as one axis."""
    first, count = int(places[0] is None), len(places)
    place = torch.zeros((), dtype=torch.int64)
    for column, size in zip(places[first:], x.shapes[0][first:count], strict=True):
        assert isinstance(column, Known)
        place = place * size + column.tensors[0]
    rest = len(x.shapes[0]) - count
    joined, written = (
        ([*x.shapes[0][:first], number, *x.shapes[0][count:]], [*x.shapes[1][:first], number, *x.shapes[1][count:]])
        for number in (math.prod(x.shapes[0][first:count]), place.numel())
    )
    index = b.expand(Known.constant(place.reshape([1] * first + [-1] + [1] * rest)), written)
    parts = b.reshape(x, joined), first, index, b.reshape(updates, written)
    return b.reshape(b.call(aten.scatter_reduce.two, *parts, how), x.shapes)


@operator("GatherND")
def gather_nd(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The numbers or blocks at constant places along the first axes, after those of a batch that both have."""
    x, shared = call.input(0), call.integer("batch_dims", 0)
    if not shared:
        return b.call(aten.index.Tensor, x, columns(b, x, call.known(1)))
    indices = call.known(1)
    if not indices.fixed or x.shapes[0][:shared] != x.shapes[1][:shared]:
        raise LayerRefused("its indices depend on the batch")
    leading = [
        torch.arange(size).reshape([-1 if i == axis else 1 for i in range(indices.tensors[0].dim() - 1)])
        for axis, size in enumerate(x.shapes[0][:shared])
    ]
    places = [Known.constant(part.long().contiguous()) for part in (*leading, *indices.tensors[0].unbind(-1))]
    return b.call(aten.index.Tensor, x, places)


def columns(b: AtenBuilder, x: OnnxValue, indices: Known) -> Columns:
    """The places along each of the first axes; ``None`` for the batch, where they are the same in every window.

    Raises:
        LayerRefused: they pick single windows out of a batch, or differ from window to window.
    """
    both = [tensor.long() for tensor in indices.tensors]
    if not both[0].dim():
        raise LayerRefused("has indices without axes")
    count = both[0].shape[-1]
    free = [axis for axis in range(count) if x.shapes[0][axis] != x.shapes[1][axis]]
    if not free and indices.fixed:
        return [_column(part, size) for part, size in zip(both[0].unbind(-1), x.shapes[0], strict=False)]
    if free and free != [0]:
        raise LayerRefused("picks single windows out of a batch")
    if indices.fixed and b.frozen and b.batch == both[0].shape[0]:
        b.freed = True
        both = both[:1]
    elif indices.fixed:
        raise LayerRefused("picks single windows out of a batch")
    for places in both:
        windows = torch.arange(places.shape[0]).reshape(-1, *[1] * (places.dim() - 2))
        if places.dim() < 2 or not bool((places[..., 0] == windows).all()):
            raise LayerRefused("picks single windows out of a batch")
        if not bool((places[..., 1:] == both[0][:1, ..., 1:]).all()):
            raise LayerRefused("has places that differ from window to window")
    parts = both[0][0].unbind(-1)[1:]
    return [None, *(_column(part, size) for part, size in zip(parts, x.shapes[0][1:], strict=False))]


def counted_from_start(b: AtenBuilder, indices: OnnxValue, size: int) -> OnnxValue:
    """Indices along an axis of a size, negative ones counted from its start."""
    if not isinstance(indices, Known):
        below = b.call(aten.lt.Scalar, indices, 0)
        return b.call(aten.where.self, below, b.call(aten.add.Tensor, indices, size), indices)
    first, second = (_column(tensor, size).tensors[0] for tensor in indices.tensors)
    return Known.constant(first) if indices.fixed else Known.of(first, second)


def _column(indices: torch.Tensor, size: int) -> Known:
    """Constant indices along an axis, counted from its start.

    Raises:
        LayerRefused: one is outside.
    """
    places = indices.long()
    places = torch.where(places < 0, places + size, places)
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < size:
        raise LayerRefused(f"indices {int(places.min())}..{int(places.max())} outside an axis of {size}")
    return Known.constant(places.contiguous())


def _batched(b: AtenBuilder, x: OnnxValue, shapes: tuple[Sequence[int], Sequence[int]]) -> OnnxValue:
    """A constant for one window, repeated for every window that is written to it."""
    low, high = ([shape[0], *x.shapes[0][1:]] for shape in shapes)
    return b.expand(x, (low, high)) if x.shapes[0][0] == x.shapes[1][0] == 1 and low != high else x


@operator("OneHot")
def one_hot(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """One number at the place that an index tells along a new axis, another number elsewhere."""
    indices, depth = call.buffer(0), listed(call.known(1).tensors[0])[0]
    off, on = call.known(2).tensors[0].unbind()
    rank = len(indices.shapes[0]) + 1
    axis = call.integer("axis", -1) % rank
    order = [depth if i == axis else 1 for i in range(rank)]
    b.allowance.fold((depth,), torch.int64)
    places = Known.constant(torch.arange(depth).reshape(order))
    apart = b.call(aten.unsqueeze.default, b.call(aten.to.dtype, indices, torch.int64), axis)
    below = b.call(aten.lt.Scalar, apart, 0)
    apart = b.call(aten.where.self, below, b.call(aten.add.Tensor, apart, depth), apart)
    hot = b.call(aten.eq.Tensor, apart, places)
    return b.call(aten.where.self, hot, Known.constant(on.clone()), Known.constant(off.clone()))


@operator("Compress")
def compress(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The parts along an axis, or the numbers of the flat input, for which a constant is true."""
    x, kept = call.input(0), call.known(1)
    if not kept.fixed:
        raise LayerRefused("its condition depends on the batch")
    places = Known.constant(kept.tensors[0].reshape(-1).nonzero().reshape(-1))
    if "axis" not in call.attributes:
        if x.shapes[0] != x.shapes[1]:
            raise LayerRefused("works along the batch")
        return b.call(aten.index_select.default, b.call(aten.reshape.default, x, [-1]), 0, places)
    axis = call.integer("axis", 0) % len(x.shapes[0])
    if x.shapes[0][axis] != x.shapes[1][axis]:
        raise LayerRefused("works along the batch")
    return b.call(aten.index_select.default, x, axis, places)


@operator("NonZero")
def nonzero(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The places of a constant's numbers that are not 0, one row for each axis."""
    x = call.known(0)
    for tensor in x.tensors:
        b.allowance.fold((tensor.dim(), tensor.numel()), torch.int64)
    first, second = (tensor.nonzero().t().contiguous() for tensor in x.tensors)
    return Known.constant(first) if x.fixed else Known.of(first, second)
