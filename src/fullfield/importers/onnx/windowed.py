"""Maps ONNX convolutions and transposed convolutions."""

from __future__ import annotations

from dataclasses import replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.activations import fused_activation
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import by_channels_first, permuted
from fullfield.importers.onnx.padding import pad, window_geometry
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, listed

aten = torch.ops.aten

_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_TRANSPOSED = {1: aten.conv_transpose1d.default, 2: aten.conv_transpose2d.input, 3: aten.conv_transpose3d.input}


@operator("Conv")
def conv(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A convolution; uneven padding becomes a node before it."""
    x, weight = call.input(0), call.weight(1)
    if weight is None:
        raise LayerRefused("lacks its weights")
    kernel = weight.shapes[0][2:]
    if len(kernel) not in _CONV or len(x.shapes[0]) != len(kernel) + 2:
        raise LayerRefused(f"kernel {kernel} on an input of {len(x.shapes[0])} dimensions")
    f = window_geometry(call, x, kernel)
    if f.even:
        padding = list(f.low)
    else:
        x, padding = pad(b, x, f.low, f.high, 0.0), [0] * len(kernel)
    strides, dilations, groups = list(f.strides), list(f.dilations), call.integer("group", 1)
    return b.call(_CONV[len(kernel)], x, weight, _bias(call), strides, padding, dilations, groups)


def _bias(call: OnnxCall) -> OnnxValue | None:
    """The bias; none for computed zeros, which exporters write for a layer without bias."""
    bias = call.weight(2)
    if isinstance(bias, Known) and bias.fixed and not bias.name and not bias.tensors[0].any():
        return None
    return bias


@operator("ConvTranspose")
def conv_transpose(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A transposed convolution; uneven padding is cut off after it."""
    x, weight = call.input(0), call.weight(1)
    if weight is None:
        raise LayerRefused("lacks its weights")
    kernel = weight.shapes[0][2:]
    rank = len(kernel)
    if rank not in _TRANSPOSED or len(x.shapes[0]) != rank + 2:
        raise LayerRefused(f"kernel {kernel} on an input of {len(x.shapes[0])} dimensions")
    low, high, extra = _transposed_pads(call, x.shapes[0][2:], kernel)
    strides, dilations = call.ints("strides", [1] * rank), call.ints("dilations", [1] * rank)
    even = low == high and min(low) >= 0
    padding = low if even else [0] * rank
    bias, groups = call.weight(2), call.integer("group", 1)
    y = b.call(_TRANSPOSED[rank], x, weight, bias, strides, padding, extra, groups, dilations)
    return y if even else pad(b, y, [-p for p in low], [-p for p in high], 0.0)


def _transposed_pads(call: OnnxCall, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[list[int], ...]:
    """The cells cut at the start and end of each axis, and the cells added at the end.

    Source: ONNX operator ConvTranspose, the formulas for ``output_shape`` and ``pads``.
    """
    rank = len(kernel)
    strides = call.ints("strides", [1] * rank) or []
    dilations = call.ints("dilations", [1] * rank) or []
    extra = call.ints("output_padding", [0] * rank) or []
    auto = call.text("auto_pad", "NOTSET")
    wanted = call.ints("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
    if wanted is None:
        pads = call.ints("pads", [0] * 2 * rank) if auto == "NOTSET" else [0] * 2 * rank
        return list(pads or [])[:rank], list(pads or [])[rank:], extra
    low, high = [], []
    for i, want in enumerate(wanted[-rank:]):
        full = strides[i] * (sizes[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        total = full - want
        first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        low.append(first)
        high.append(total - first)
    return low, high, extra


@operator("com.microsoft.NhwcFusedConv")
def fused_conv_of_last(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The same of maps whose channels are last; only the weights have them first."""
    inputs = list(call.inputs)
    if call.optional(3) is not None:
        inputs[3] = permuted(b, call.input(3), [0, 3, 1, 2])
    return by_channels_first(b, replace(call, inputs=tuple(inputs)), fused_conv)


@operator("com.microsoft.FusedConv")
def fused_conv(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A convolution, then the sum with another map if there is one, then an activation."""
    x = conv(b, call)
    if call.optional(3) is not None:
        x = b.call(aten.add.Tensor, x, call.input(3))
    return fused_activation(b, call, x)


@operator("Col2Im")
def columns_to_map(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Sums the columns ``(n, channels * kernel, places)`` to the map that they were cut from."""
    size, kernel = listed(call.known(1).tensors[0]), listed(call.known(2).tensors[0])
    if len(size) != 2 or len(kernel) != 2:
        raise LayerRefused(f"a map of {len(size)} axes")
    strides, dilations = call.ints("strides", [1, 1]), call.ints("dilations", [1, 1])
    top, left, bottom, right = call.ints("pads", [0] * 4) or []
    padded = [size[0] + top + bottom, size[1] + left + right]
    whole = b.call(aten.col2im.default, call.input(0), padded, kernel, dilations, [0, 0], strides)
    return pad(b, whole, [-top, -left], [-bottom, -right], 0.0)
