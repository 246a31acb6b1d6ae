"""Convolutions."""

from __future__ import annotations

import math
from typing import Any

import torch

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Scratch
from fullfield.layers import custom_operators
from fullfield.layers.fft_cost import ConvShape, fft_is_faster
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Operator, Shapes, Windowed, kernel_geometry
from fullfield.operators.strips import added, own_padding

aten = torch.ops.aten
# of oneDNN, merged with what follows; builds of torch without it have none
MERGED = tuple(op for op in (getattr(torch.ops.mkldnn, "_convolution_pointwise", None),) if op is not None)
_MOST_TAPS, _TAPS_AT_ONCE = 4096, 1024  # of a number, added one after the other: left alone, and of each part
_FEW_ROWS = 3  # of a kernel that stays as it is: the network's crops add its taps alike


def taps_of_weight(shapes: Shapes) -> int:
    """Multiply-adds of one number of a convolution: channels of its group times the kernel's taps."""
    return math.prod(shapes["weight"][1:])


def _rows_at_once(kernel: int, taps: int) -> int:
    """Rows of a kernel whose taps torch adds one after the other; of a head with many taps, which rounds worst, a few.

    Args:
        kernel: rows of it.
        taps: multiply-adds of one number of the result.
    """
    return kernel if kernel <= _FEW_ROWS or taps <= _MOST_TAPS else max(1, _TAPS_AT_ONCE * kernel // taps)


def _emit(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    # One cell has no stride; oneDNN's bfloat16 kernels for AMX get it wrong there (pytorch/pytorch#169688).
    single = [s.length == 1 + s.slide.dilation * (k - 1) for s, k in zip(strips, call.kernel, strict=True)]
    stride = [1 if one else s.slide.stride for s, one in zip(strips, single, strict=True)]
    dilation, groups = [s.slide.dilation for s in strips], call.args["groups"]
    if all(single) and dilation == [1, 1] and groups == 1:
        return _emit_head(to, call, strip, -1)
    weight, bias = to.weight(call.args["weight"]), to.weight(call.args["bias"])
    if to.fft and stride == [1, 1] and _by_fft(call, strips):
        return to.call(custom_operators.fft_conv2d, strip, weight, bias, [0, 0], dilation, groups)
    if _rows_at_once(call.kernel[0], call.read // groups * math.prod(call.kernel)) < call.kernel[0]:
        return _emit_by_rows(to, call, strip, (strips[0].length, stride, dilation))
    strip, padding = own_padding(to, strip, strips, call.kernel, stride, 0.0)
    return to.call(aten.conv2d.default, strip, weight, bias, stride, padding, dilation, groups)


def _emit_by_rows(to: Emitter, call: Call, strip: Any, how: tuple[int, list[int], list[int]]) -> Any:
    """A convolution as a sum, in pairs, of convolutions with a few rows of its kernel each.

    Args:
        how: rows of the strip, stride and dilation.
    """
    (length, stride, dilation), groups, (kernel, wide) = how, call.args["groups"], call.kernel
    weight, bias = to.weight(call.args["weight"]), to.weight(call.args["bias"])
    rows = _rows_at_once(kernel, call.read // groups * kernel * wide)
    last = (length - dilation[0] * (kernel - 1) - 1) // stride[0] * stride[0]  # first row of the last position
    parts = []
    for first in range(0, kernel, rows):
        stop = min(kernel, first + rows)
        taps = to.call(aten.slice.Tensor, weight, 2, first, stop)
        part = to.call(aten.slice.Tensor, strip, 2, first * dilation[0], last + (stop - 1) * dilation[0] + 1)
        operands = [part, taps, None if first else bias, stride, [0, 0], dilation, groups]
        parts.append(to.call(aten.conv2d.default, *operands))
    return added(to, parts)


def _by_fft(call: Call, strips: Strips) -> bool:
    """Whether transforms should be faster on a strip of one map; where windows are apart, maps are small."""
    (sy, sx), (y, x) = strips, call.ops
    size, dilation = (sy.length, sx.length), (sy.slide.dilation, sx.slide.dilation)
    shape = ConvShape.of(1, (call.read, call.written), call.args["groups"], size, (y.kernel, x.kernel), dilation)
    return fft_is_faster(shape, cached=True)  # the engine keeps spectra from tile to tile


def _emit_head(to: Emitter, call: Call, windows: Any, count: int) -> Any:
    """A convolution as large as its map is a linear layer and runs faster as one; in groups it stays.

    Shape: ``(count, channels, y, x)`` -> ``(count, kernels, 1, 1)``
    """
    weight, bias, groups = to.weight(call.args["weight"]), to.weight(call.args["bias"]), call.args["groups"]
    if groups > 1:
        return to.call(aten.conv2d.default, windows, weight, bias, [1, 1], [0, 0], [1, 1], groups)
    flat, rows = (to.call(aten.flatten.using_ints, value, 1) for value in (windows, weight))
    result = to.call(aten.linear.default, flat, rows, bias)
    return to.call(aten.reshape.default, result, [count, call.written, 1, 1])


def _scratch(ops: tuple[Op, Op], taps: int) -> Scratch:
    """Two copies of the weights while their memory layout changes; but for 32 bits, a matrix of taps too on CPUs.

    Where rows of the kernel are added in pairs, their sums besides.
    """
    kernel = ops[0].kernel
    parts = -(-kernel // _rows_at_once(kernel, taps))
    return Scratch(weights=2, taps=True, results=parts.bit_length() if parts > 1 else 0)


RECORDS = (
    Operator(
        (aten.conv2d,),
        windowed=Windowed(kernel_geometry, _emit, slides=True, emit_head=_emit_head, scratch=_scratch),
        macs=taps_of_weight,
        new_memory=True,
        independent="first",
    ),
    Operator(MERGED, new_memory=True),
    Operator((aten.conv3d,), macs=taps_of_weight, independent="first"),
    Operator(
        (aten.conv1d, aten.convolution, aten.conv_transpose1d, aten.conv_transpose2d),
        independent="first",
    ),
)
