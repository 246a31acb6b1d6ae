"""Maps ONNX pools, over a kernel and over the whole map."""

from __future__ import annotations

from dataclasses import replace

import torch

from fullfield.geometry.axis import Op
from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import by_channels_first
from fullfield.importers.onnx.padding import WindowGeometry, pad, window_geometry
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten

_MAX = {1: aten.max_pool1d.default, 2: aten.max_pool2d.default, 3: aten.max_pool3d.default}
_AVERAGE = {1: aten.avg_pool1d.default, 2: aten.avg_pool2d.default, 3: aten.avg_pool3d.default}


@operator("MaxPool")
def max_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The maximum under the kernel; padding is -inf."""
    if call.outputs > 1:
        raise LayerRefused("its second output (indices) is used")
    x, f = _pool_geometry(call)
    ceil = f.ceil
    padding = list(f.low)
    if not f.even or any(2 * p > k for p, k in zip(f.low, f.kernel, strict=True)):
        low, high = _explicit(f, x)
        x, padding, ceil = pad(b, x, low, high, _least(x)), [0] * len(f.kernel), False
    kernel, strides, dilations = list(f.kernel), list(f.strides), list(f.dilations)
    return b.call(_MAX[len(kernel)], x, kernel, strides, padding, dilations, ceil)


@operator("com.microsoft.NhwcMaxPool")
def max_pool_of_last(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The same of maps whose channels are last."""
    return by_channels_first(b, call, max_pool)


@operator("AveragePool")
def average_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean under the kernel, with or without the padding."""
    x, f = _pool_geometry(call)
    counted = bool(call.integer("count_include_pad", 0))
    small = all(2 * p <= k for p, k in zip(f.low, f.kernel, strict=True))
    if f.even and small and set(f.dilations) == {1}:
        kernel, strides, low = list(f.kernel), list(f.strides), list(f.low)
        return b.call(_AVERAGE[len(kernel)], x, kernel, strides, low, f.ceil, counted)
    if not counted and set(f.dilations) == {1}:
        shifted = _evenly_padded_mean(b, x, f)
        if shifted is not None:
            return shifted
    total = _mean(b, x, f)
    count = _mean_share(f, x.shapes[0][2:], x.dtype, counted=counted)
    return total if bool((count == 1).all()) else b.call(aten.div.Tensor, total, Known.constant(count))


@operator("LpPool")
def lp_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(sum |x| ** p) ** (1 / p)`` under the kernel."""
    x, f = _pool_geometry(call)
    p = call.integer("p", 2)
    if p == 2 and len(f.kernel) == 2 and set(f.dilations) == {1}:
        return _root_of_squares(b, x, f)
    powers = b.call(aten.pow.Tensor_Scalar, b.call(aten.abs.default, x), p)
    taps = 1
    for k in f.kernel:
        taps *= k
    total = b.call(aten.mul.Tensor, _mean(b, powers, f), taps)
    return b.call(aten.pow.Tensor_Scalar, total, 1 / p)


@operator("GlobalAveragePool")
def global_average_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean over the whole map."""
    x = call.input(0)
    if len(x.shapes[0]) == 4:
        return b.call(aten.adaptive_avg_pool2d.default, x, [1, 1])
    return b.call(aten.mean.dim, x, _map(x), True)


@operator("GlobalMaxPool")
def global_max_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The maximum of the whole map."""
    x = call.input(0)
    return b.call(aten.amax.default, x, _map(x), True)


@operator("GlobalLpPool")
def global_lp_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(sum |x| ** p) ** (1 / p)`` over the whole map."""
    x, p = call.input(0), call.integer("p", 2)
    if p == 2 and len(x.shapes[0]) == 4:
        size = list(x.shapes[0][2:])
        return b.call(operators.l2_pool2d.default, x, size, size, [0, 0], False)
    powers = b.call(aten.pow.Tensor_Scalar, b.call(aten.abs.default, x), p)
    return b.call(aten.pow.Tensor_Scalar, b.call(aten.sum.dim_IntList, powers, _map(x), True), 1 / p)


def _root_of_squares(b: AtenBuilder, x: OnnxValue, f: WindowGeometry) -> OnnxValue:
    """An L2 pool as one node; uneven padding becomes a node before it."""
    padding = list(f.low)
    if f.ceil or not f.even or any(2 * p > k for p, k in zip(f.low, f.kernel, strict=True)):
        x, padding = pad(b, x, *_explicit(f, x), 0.0), [0, 0]
    return b.call(operators.l2_pool2d.default, x, list(f.kernel), list(f.strides), padding, False)


def _map(x: OnnxValue) -> list[int]:
    return list(range(2, len(x.shapes[0])))


def _pool_geometry(call: OnnxCall) -> tuple[OnnxValue, WindowGeometry]:
    x, kernel = call.input(0), call.ints("kernel_shape")
    if not kernel or len(kernel) not in _MAX or len(x.shapes[0]) != len(kernel) + 2:
        raise LayerRefused(f"kernel {kernel} on an input of {len(x.shapes[0])} dimensions")
    f = window_geometry(call, x, kernel)
    if min(*f.low, *f.high) < 0 or min(f.output_cells(x.shapes[0][2:])) < 1:
        raise LayerRefused(f"kernel {kernel}, pads {f.low} and {f.high} do not fit a map of {x.shapes[0][2:]} cells")
    return x, f


def _explicit(f: WindowGeometry, x: OnnxValue) -> tuple[list[int], list[int]]:
    """Padding for which the pool fits exactly and has as many output cells as ONNX defines."""
    high = []
    for op, size in zip(f.axes(), x.shapes[0][2:], strict=True):
        high.append((op.cells(size) - 1) * op.stride + op.extent - size - op.low)
    return list(f.low), high


def _least(x: OnnxValue) -> float:
    return float("-inf") if x.dtype.is_floating_point else float(torch.iinfo(x.dtype).min)


def _mean(b: AtenBuilder, x: OnnxValue, f: WindowGeometry) -> OnnxValue:
    """The sum under the kernel, with zeros as padding, divided by the number of taps."""
    low, high = _explicit(f, x)
    x = pad(b, x, low, high, 0.0)
    kernel, strides, rank = list(f.kernel), list(f.strides), len(f.kernel)
    if set(f.dilations) == {1}:
        return b.call(_AVERAGE[rank], x, kernel, strides, [0] * rank, False, True)
    return _dilated_mean(b, x, f)


def _evenly_padded_mean(b: AtenBuilder, x: OnnxValue, f: WindowGeometry) -> OnnxValue | None:
    """The mean of the cells inside the map, by torch's pool; ``None`` where no even padding has the file's cells.

    torch leaves out padding, but pads both ends alike: by the low padding, and strides more whose cells are cut off.
    The last cells may reach beyond the padding.
    """
    sizes = x.shapes[0][2:]
    for ceil in (False, True):
        found = [
            _even_padding(op, size, wanted, ceil=ceil)
            for op, size, wanted in zip(f.axes(), sizes, f.output_cells(sizes), strict=True)
        ]
        paddings = [padding for padding in found if padding is not None]
        if len(paddings) == len(found):
            break
    else:
        return None
    y = b.call(_AVERAGE[len(sizes)], x, list(f.kernel), list(f.strides), paddings, ceil, False)
    for axis, (op, padding, wanted) in enumerate(zip(f.axes(), paddings, f.output_cells(sizes), strict=True)):
        first = (padding - op.low) // op.stride
        if y.shapes[0][axis + 2] != wanted:
            y = b.call(aten.slice.Tensor, y, axis + 2, first, first + wanted, 1)
    return y


def _even_padding(op: Op, size: int, wanted: int, *, ceil: bool) -> int | None:
    """The least padding of both ends that gives an operator's cells, or these and others."""
    for padding in range(op.low, op.kernel // 2 + 1, op.stride):
        even = replace(op, low=padding, high=padding, ceil=ceil)
        if even.cells(size) >= (padding - op.low) // op.stride + wanted:
            return padding
    return None


def _dilated_mean(b: AtenBuilder, x: OnnxValue, f: WindowGeometry) -> OnnxValue:
    """The mean of a dilated pool: a convolution of every channel with a constant kernel."""
    channels, taps = x.shapes[0][1], 1
    for k in f.kernel:
        taps *= k
    weight = Known.constant(torch.full((channels, 1, *f.kernel), 1 / taps, dtype=x.dtype))
    conv = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)[len(f.kernel) - 1]
    return b.call(conv, x, weight, None, list(f.strides), [0] * len(f.kernel), list(f.dilations), channels)


def _mean_share(f: WindowGeometry, sizes: tuple[int, ...], dtype: torch.dtype, *, counted: bool) -> torch.Tensor:
    """The share of taps that count, for each output cell."""
    share = torch.ones((), dtype=torch.float64)
    for op, size in zip(f.axes(), sizes, strict=True):
        first = torch.arange(op.cells(size)) * op.stride - op.low
        taps = first[:, None] + torch.arange(op.kernel) * op.dilation
        low, high = (-op.low, size + op.high) if counted else (0, size)
        inside = ((taps >= low) & (taps < high)).sum(1).double() / op.kernel
        share = share[..., None] * inside
    return share.to(dtype)
