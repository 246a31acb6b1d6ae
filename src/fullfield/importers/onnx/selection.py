"""Maps ONNX operators that sort, select by values, count or repeat."""

from __future__ import annotations

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.scattering import counted_from_start
from fullfield.importers.onnx.values import Known, OnnxValue, flat_from, listed

aten = torch.ops.aten


@operator("ArgMax", "ArgMin")
def arg_extreme(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The index of the greatest or least number along an axis, of equal ones the first, or the last one."""
    x, axis = call.input(0), _axis(call, 0)
    target = aten.argmax.default if call.op == "ArgMax" else aten.argmin.default
    keep = bool(call.integer("keepdims", 1))
    if not call.integer("select_last_index", 0):
        return b.call(target, x, axis, keep)
    last = x.shapes[0][axis] - 1
    return b.call(aten.rsub.Scalar, b.call(target, b.call(aten.flip.default, x, [axis]), axis, keep), last)


@operator("TopK")
def top_k(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The greatest or least numbers along an axis, sorted, and their indices; of equal numbers the first come first."""
    x, axis = call.input(0), _axis(call, -1)
    count = call.integer("k", 0) if "k" in call.attributes else listed(call.known(1).tensors[0])[0]
    if not 0 < count <= x.shapes[0][axis]:
        raise LayerRefused(f"{count} of {x.shapes[0][axis]} numbers")
    numbers, places = b.calls(aten.sort.stable, x, stable=True, dim=axis, descending=bool(call.integer("largest", 1)))
    return (b.call(aten.slice.Tensor, numbers, axis, 0, count), b.call(aten.slice.Tensor, places, axis, 0, count))


@operator("Hardmax")
def hardmax(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """One at the first greatest number along an axis, zero elsewhere; before opset 13 along all axes from one on."""
    x, axis = call.input(0), _axis(call, 1 if call.opset < 13 else -1)
    shapes = x.shapes
    if call.opset < 13:
        x = b.reshape(x, flat_from(shapes, axis))
    places = b.call(aten.argmax.default, x, axis, True)
    order = [1] * len(x.shapes[0])
    order[axis] = x.shapes[0][axis]
    numbers = Known.constant(torch.arange(order[axis]).reshape(order))
    hot = b.call(aten.to.dtype, b.call(aten.eq.Tensor, places, numbers), x.dtype)
    return b.reshape(hot, shapes) if call.opset < 13 else hot


@operator("GatherElements")
def gather_elements(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The numbers at given indices along an axis, one index for each number of the result."""
    x, axis = call.input(0), _axis(call, 0)
    indices = counted_from_start(b, call.buffer(1), x.shapes[0][axis])
    if axis and indices.shapes[0][0] == indices.shapes[1][0] == 1:
        low, high = ([shape[0], *indices.shapes[0][1:]] for shape in x.shapes)
        indices = b.expand(indices, (low, high))
    return b.call(aten.gather.default, x, axis, indices)


@operator("CumSum", "CumProd")
def cumulative(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Sums or products of all numbers up to each along an axis, from either end, each counted or not."""
    x, sums = call.input(0), call.op == "CumSum"
    axis = listed(call.known(1).tensors[0])[0] % len(x.shapes[0])
    if x.shapes[0][axis] != x.shapes[1][axis]:
        raise LayerRefused(f"{'sums' if sums else 'multiplies'} along the batch")
    backwards = bool(call.integer("reverse", 0))
    turned = b.call(aten.flip.default, x, [axis]) if backwards else x
    if call.integer("exclusive", 0):
        size = turned.shapes[0][axis]
        first = b.call(aten.slice.Tensor, b.call(aten.full_like.default, turned, 0 if sums else 1), axis, 0, 1)
        turned = b.call(aten.cat.default, [first, b.call(aten.slice.Tensor, turned, axis, 0, size - 1)], axis)
    found = b.call((aten.cumsum if sums else aten.cumprod).default, turned, axis, dtype=x.dtype)
    return b.call(aten.flip.default, found, [axis]) if backwards else found


@operator("Tile")
def tile(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input repeated along its axes."""
    x, repeats = call.input(0), call.known(1)
    low, high = (listed(tensor) for tensor in repeats.tensors)
    if len(low) != len(x.shapes[0]):
        raise LayerRefused(f"{len(low)} numbers of repeats for {len(x.shapes[0])} axes")
    shapes = [
        [n * r for n, r in zip(shape, each, strict=True)] for shape, each in zip(x.shapes, (low, high), strict=True)
    ]
    if all(n == 1 or r == 1 for n, r in zip(x.shapes[0], low, strict=True)):
        return b.expand(x, (shapes[0], shapes[1]))
    if low != high:
        raise LayerRefused("repeats depend on the batch")
    for shape in shapes:
        b.allowance.check(shape, x.dtype, windows=max(1, shape[0]))
    return b.call(aten.repeat.default, x, low)


@operator("ReverseSequence")
def reverse_sequence(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The first steps of an axis in the other order, as many in every window; the others as they are."""
    x, lengths = call.input(0), call.known(1)
    axis = call.integer("time_axis", 0) % len(x.shapes[0])
    count = int(lengths.tensors[0].reshape(-1)[0]) if lengths.tensors[0].numel() else 0
    if not all(bool((tensor == count).all()) for tensor in lengths.tensors):
        raise LayerRefused("reverses sequences of different lengths")
    size = x.shapes[0][axis]
    if size != x.shapes[1][axis] or not 0 <= count <= size:
        raise LayerRefused(f"reverses {count} steps of an axis of {size}, or the batch")
    first = b.call(aten.flip.default, b.call(aten.slice.Tensor, x, axis, 0, count), [axis])
    if count == size:
        return first
    return b.call(aten.cat.default, [first, b.call(aten.slice.Tensor, x, axis, count, size)], axis)


@operator("Trilu")
def triangle(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The upper or lower triangle of matrices, zero elsewhere."""
    diagonal = 0 if call.optional(1) is None else listed(call.known(1).tensors[0])[0]
    target = aten.triu.default if call.integer("upper", 1) else aten.tril.default
    return b.call(target, call.input(0), diagonal)


def _axis(call: OnnxCall, default: int) -> int:
    """The node's axis, counted from the start.

    Raises:
        LayerRefused: it is the batch.
    """
    low, high = call.input(0).shapes
    axis = call.integer("axis", default) % max(1, len(low))
    if not low or low[axis] != high[axis]:
        raise LayerRefused("works along the batch")
    return axis
