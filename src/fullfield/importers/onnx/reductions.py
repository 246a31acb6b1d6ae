"""Maps ONNX reductions over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import OnnxValue

aten = torch.ops.aten

Reduction = Callable[[AtenBuilder, OnnxValue, list[int], bool], OnnxValue]


def _sum(b: AtenBuilder, x: OnnxValue, axes: list[int], keep: bool) -> OnnxValue:
    return b.call(aten.sum.dim_IntList, x, axes, keep)


def _product(b: AtenBuilder, x: OnnxValue, axes: list[int], keep: bool) -> OnnxValue:
    for axis in sorted(axes, reverse=True):
        x = b.call(aten.prod.dim_int, x, axis, keep)
    return x


def _squares(b: AtenBuilder, x: OnnxValue, axes: list[int], keep: bool) -> OnnxValue:
    return _sum(b, b.call(aten.mul.Tensor, x, x), axes, keep)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": _sum,
    "ReduceMean": lambda b, x, axes, keep: b.call(aten.mean.dim, x, axes, keep),
    "ReduceMax": lambda b, x, axes, keep: b.call(aten.amax.default, x, axes, keep),
    "ReduceMin": lambda b, x, axes, keep: b.call(aten.amin.default, x, axes, keep),
    "ReduceProd": _product,
    "ReduceL1": lambda b, x, axes, keep: _sum(b, b.call(aten.abs.default, x), axes, keep),
    "ReduceL2": lambda b, x, axes, keep: b.call(aten.sqrt.default, _squares(b, x, axes, keep)),
    "ReduceSumSquare": _squares,
    "ReduceLogSum": lambda b, x, axes, keep: b.call(aten.log.default, _sum(b, x, axes, keep)),
    "ReduceLogSumExp": lambda b, x, axes, keep: b.call(aten.logsumexp.default, x, axes, keep),
}


@operator(*_REDUCTIONS)
def reduce(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A reduction over the given axes, or over all."""
    x, axes = call.input(0), call.integers("axes", 1)
    if not axes:
        if call.integer("noop_with_empty_axes", 0):
            return x
        axes = list(range(len(x.shapes[0])))
    if not x.shapes[0]:
        return x
    rank = len(x.shapes[0])
    return _REDUCTIONS[call.op](b, x, [a % rank for a in axes], bool(call.integer("keepdims", 1)))
