"""Pools, and resizing by matrices along both axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fullfield.engine.engines.emission.call import OperatorCall, Translation
from fullfield.engine.engines.emission.convolutions import spread
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter

aten = torch.ops.aten


def _rank(call: OperatorCall) -> int:
    """Axes of a pool's map."""
    return len(call["kernel_size"]) if not isinstance(call["kernel_size"], int) else 2


def _high(call: OperatorCall, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Cells at the high ends that the results read beyond the map; what they do not read is left over."""
    rank = len(kernel)
    sizes = zip(
        call.shape_of("self")[-rank:],
        call.shape[-rank:],
        *(kernel, stride, spread(call["padding"], rank), dilation),
        strict=True,
    )
    return [max(0, (out - 1) * t + d * (k - 1) + 1 - n - p) for n, out, k, t, p, d in sizes]


def _max_pool(to: GraphWriter, call: OperatorCall) -> GraphValue:
    rank = _rank(call)
    kernel = spread(call["kernel_size"], rank)
    stride, dilation = spread(call["stride"] or kernel, rank), spread(call["dilation"], rank)
    low, high = spread(call["padding"], rank), _high(call, kernel, stride, dilation)
    spreads_well = to.spread_pool_channels > 0 and call.shape[1] % to.spread_pool_channels == 0
    if max(dilation) == 1 or spreads_well:
        return to.max_pool(call.value(to, "self"), kernel, stride, low, high, dilation)
    return _spread_max_pool(to, call, kernel, stride, dilation, low, high)


def _spread_max_pool(
    to: GraphWriter,
    call: OperatorCall,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
) -> GraphValue:
    """The largest numbers under a kernel whose taps are spread, one axis after the other, tap by tap.

    OpenVINO's own takes 60 times as long, ONNX Runtime's 8 times unless it keeps channels in blocks (3x3 taps, 28 maps
    of 120x120 cells).
    """
    x, first = call.value(to, "self"), len(call.shape) - len(kernel)
    if any(low) or any(high):
        before = [0] * first
        x = to.pad(x, [*before, *low], [*before, *high], -math.inf)
    for dim in reversed(range(first, len(call.shape))):
        axis = dim - first
        last = (call.shape[dim] - 1) * stride[axis] + 1
        starts = range(0, kernel[axis] * dilation[axis], dilation[axis])
        taps = [to.slice(x, dim, start, start + last, stride[axis]) for start in starts]
        x = functools.reduce(functools.partial(to.binary, "maximum"), taps)
    return x


def _average_pool(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Means of a map with zeros around it, times the kernel's taps over the divisor of each cell."""
    kernel = spread(call["kernel_size"], 2)
    stride = spread(call["stride"] or kernel, 2)
    low, high = spread(call["padding"], 2), _high(call, kernel, stride, [1, 1])
    x = call.value(to, "self")
    if any(low) or any(high):
        before = [0] * (len(call.shape) - 2)
        x = to.pad(x, [*before, *low], [*before, *high], 0.0)
    mean, scale = to.average_pool(x, kernel, stride), _scale(call, math.prod(kernel))
    return mean if scale is None else to.binary("mul", mean, to.constant(scale))


def _scale(call: OperatorCall, taps: int) -> Tensor | None:
    """The kernel's taps over the divisor of each cell, if they differ somewhere. Shape: ``(1, 1, y, x)``"""
    ones = torch.ones(1, 1, *call.shape_of("self")[-2:], dtype=torch.float64)
    options = {name: call[name] for name in ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")}
    found = aten.avg_pool2d(ones, **options, divisor_override=call["divisor_override"])
    ratio = taps * found / aten.avg_pool2d(ones, **options, divisor_override=1)
    return None if bool((ratio == 1).all()) else ratio.float()


def _adaptive_pool(to: GraphWriter, call: OperatorCall) -> GraphValue:
    before, after = call.shape_of("self")[-2:], call.shape[-2:]
    x = call.value(to, "self")
    if after == (1, 1):
        rank = len(call.shape)
        return to.reduce("mean", x, [rank - 2, rank - 1], keepdim=True)
    if all(n % m == 0 for n, m in zip(before, after, strict=True)):
        kernel = [n // m for n, m in zip(before, after, strict=True)]
        return to.average_pool(x, kernel, kernel)
    return _along_axes(to, call, lambda ones, m: aten.adaptive_avg_pool2d(ones, [m, 1]))


def _resized(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Upsampling is linear in the map, and acts on one axis after the other."""
    operator = call.node.target
    scales = call["scale_factors"]

    def column(ones: Tensor, size: int) -> Tensor:
        axis = 0 if size == call.shape[-2] and ones.shape[-2] == call.shape_of("input")[-2] else 1
        factors = None if scales is None else [scales[axis], 1.0]
        return operator(ones, None if factors else [size, 1], call["align_corners"], factors)  # type: ignore[operator,no-any-return]

    return _along_axes(to, call, column)


def _along_axes(to: GraphWriter, call: OperatorCall, run: Callable[[Tensor, int], Tensor]) -> GraphValue:
    """A map times a matrix along each axis."""
    name = "self" if "self" in call.args else "input"
    before, after = call.shape_of(name)[-2:], call.shape[-2:]
    y, x = (
        run(torch.eye(n, dtype=torch.float64).reshape(1, n, n, 1), m).reshape(n, m).float()
        for n, m in zip(before, after, strict=True)
    )
    wide = to.matmul(call.value(to, name), to.constant(x))
    return to.matmul(to.constant(y.T.contiguous()), wide)


TABLE = {
    "max_pool1d": Translation(_max_pool, lambda call: len(call.shape) == 3),
    "max_pool2d": Translation(_max_pool, lambda call: len(call.shape) == 4),
    "avg_pool2d": Translation(_average_pool, lambda call: len(call.shape) == 4),
    "adaptive_avg_pool2d": Translation(_adaptive_pool, lambda call: len(call.shape) == 4),
}
