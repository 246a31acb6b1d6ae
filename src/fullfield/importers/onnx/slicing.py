"""Maps ONNX operators that split, slice, index or concatenate tensors."""

from __future__ import annotations

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import free_batch_shapes
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, Traced, at_batch, listed

aten = torch.ops.aten


@operator("Concat")
def concat(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Concatenation; a constant for one window is repeated for every window."""
    values = [call.input(i) for i in range(len(call.inputs))]
    rank = len(values[0].shapes[0])
    axis = call.integer("axis", 1) % max(rank, 1)
    for i in range(rank):
        sizes = {(v.shapes[0][i], v.shapes[1][i]) for v in values if len(v.shapes[0]) == rank}
        free = [pair for pair in sizes if pair[0] != pair[1]]
        if i != axis and len(free) == 1 and (1, 1) in sizes:
            values = [_spread(b, v, i, free[0]) for v in values]
    return values[0] if len(values) == 1 else b.call(aten.cat.default, values, axis)


@operator("Split")
def split(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """Consecutive parts along an axis."""
    x, sizes = call.input(0), call.integers("split", 1)
    axis = call.integer("axis", 0) % max(1, len(x.shapes[0]))
    whole = x.shapes[0][axis]
    if whole != x.shapes[1][axis]:
        raise LayerRefused("splits along the batch")
    if sizes is None:
        each = -(-whole // call.outputs)
        sizes = [each] * (whole // each) + ([whole % each] if whole % each else [])
    if sum(sizes) != whole or len(sizes) != call.outputs:
        raise LayerRefused(f"parts {sizes} for {call.outputs} outputs of an axis of {whole}")
    return b.calls(aten.split_with_sizes.default, x, sizes, axis)


@operator("Slice")
def slice_(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Half-open ranges along axes; a negative step reads backwards."""
    x = call.input(0)
    starts, ends = _bounds(call, "starts", 1), _bounds(call, "ends", 2)
    axes = call.integers("axes", 3) or list(range(len(starts[0])))
    steps = call.integers("steps", 4) or [1] * len(axes)
    rank = len(x.shapes[0])
    for i, axis in enumerate(axes):
        size = [shape[axis % rank] for shape in x.shapes]
        ranges = [range(n)[slice(starts[at][i], _end(ends[at][i], n, steps[i]), steps[i])] for at, n in enumerate(size)]
        x = _cut(b, x, axis % rank, size, ranges)
    return x


@operator("Gather")
def gather(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The elements at given indices along an axis, or those of a constant at indices that depend on the pixels."""
    x, axis = call.input(0), call.integer("axis", 0) % max(1, len(call.input(0).shapes[0]))
    if isinstance(call.input(1), Traced) and isinstance(x, Known):
        return at_pixels(b, x, call.input(1), axis)
    indices = call.known(1)
    if isinstance(x, Traced) and len(x.shapes[0]) == 1 and x.shapes[0] != x.shapes[1]:
        return _whole(b, x, indices)
    size = x.shapes[0][axis]
    if not indices.fixed or (size != x.shapes[1][axis] and indices.tensors[0].numel() != 1):
        raise LayerRefused("its indices depend on the batch")
    index = torch.where(indices.tensors[0] < 0, indices.tensors[0] + size, indices.tensors[0]).long()
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise LayerRefused(f"indices {int(index.min())}..{int(index.max())} outside an axis of {size}")
    if index.dim() == 0:
        return b.call(aten.select.int, x, axis, int(indices.tensors[0]))
    flat = b.call(aten.index_select.default, x, axis, Known.constant(index.reshape(-1)))
    if index.dim() == 1:
        return flat
    shapes = [[*shape[:axis], *index.shape, *shape[axis + 1 :]] for shape in x.shapes]
    return b.reshape(flat, (shapes[0], shapes[1]))


def at_pixels(b: AtenBuilder, table: Known, places: OnnxValue, axis: int) -> OnnxValue:
    """The elements of a constant along an axis, at places that depend on the pixels."""
    if not table.fixed:
        raise LayerRefused("looks up numbers that depend on the number of windows")
    index = places if places.dtype == torch.int64 else b.call(aten.to.dtype, places, torch.int64)
    return b.call(aten.index.Tensor, table, [*[None] * axis, index])


def _whole(b: AtenBuilder, x: Traced, indices: Known) -> OnnxValue:
    """All elements of a flat tensor in order, in the shape of the indices: how exporters write ``as_strided``."""
    if indices.fixed and _in_order(indices.tensors[0], at_batch(x.shapes, b.batch)[0]):
        b.freed = True
        return b.reshape(x, free_batch_shapes(list(indices.tensors[0].shape), x, b.batch, zeros=True))
    if all(_in_order(t, shape[0]) for t, shape in zip(indices.tensors, x.shapes, strict=True)):
        return b.reshape(x, indices.shapes)
    raise LayerRefused("picks single elements across the windows of a batch")


def _in_order(indices: torch.Tensor, count: int) -> bool:
    return indices.numel() == count and torch.equal(indices.reshape(-1).long(), torch.arange(count))


def _spread(b: AtenBuilder, value: OnnxValue, axis: int, pair: tuple[int, int]) -> OnnxValue:
    if (value.shapes[0][axis], value.shapes[1][axis]) != (1, 1):
        return value
    shapes = [[*shape[:axis], n, *shape[axis + 1 :]] for shape, n in zip(value.shapes, pair, strict=True)]
    return b.expand(value, (shapes[0], shapes[1]))


def _bounds(call: OnnxCall, name: str, index: int) -> tuple[list[int], list[int]]:
    if name in call.attributes:
        numbers = call.ints(name) or []
        return numbers, numbers
    low, high = (listed(t) for t in call.known(index).tensors)
    return low, high


def _end(end: int, size: int, step: int) -> int | None:
    """ONNX's end as a Python slice's: ``None`` where a negative step goes beyond the start of the axis."""
    return None if step < 0 and end < -size else end


def _cut(b: AtenBuilder, x: OnnxValue, axis: int, size: list[int], ranges: list[range]) -> OnnxValue:
    low, high = ranges
    if low == range(size[0]) and high == range(size[1]):
        return x
    if size[0] != size[1] or low != high:
        if low.step < 0:
            raise LayerRefused("reads the batch backwards")
        start, stop = b.sizes([(low.start, high.start), (low.stop, high.stop)])
        if not isinstance(start, int) or not isinstance(stop, int):
            raise LayerRefused("cuts the batch at a position that depends on it")
        return b.call(aten.slice.Tensor, x, axis, start, stop, low.step)
    if low.step < 0:
        return b.call(aten.index_select.default, x, axis, Known.constant(torch.tensor(list(low), dtype=torch.int64)))
    return b.call(aten.slice.Tensor, x, axis, low.start, low.stop, low.step)
