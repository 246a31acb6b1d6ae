"""Reads quantised ONNX networks as the float networks that they approximate: with their weights, without rounding.

A value between ``QuantizeLinear`` and ``DequantizeLinear`` is kept as the real number that it means, clamped to what
the integers can hold, which is how quantised networks often write a ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.kept_real import OF_CONSTANT, REAL_WEIGHT
from fullfield.importers.onnx.layout import by_channels_first
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.tensors import read_dtype
from fullfield.importers.onnx.values import Known, OnnxValue
from fullfield.importers.onnx.windowed import conv

aten = torch.ops.aten

_KINDS = onnx.TensorProto
_SPANS: dict[int, tuple[float, float]] = {
    _KINDS.UINT2: (0, 3),
    _KINDS.INT2: (-2, 1),
    _KINDS.UINT4: (0, 15),
    _KINDS.INT4: (-8, 7),
    _KINDS.FLOAT4E2M1: (-6, 6),
}
"""The least and the greatest number of types that torch lacks."""


@operator("QuantizeLinear")
def quantise(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The real numbers, clamped to those that the integers hold; the integers of a constant."""
    x, axis, block = call.input(0), call.integer("axis", 1), call.integer("block_size", 0)
    span = span_of(call.integer("output_dtype", 0), call.optional(2))
    place = Along(axis, block, span)
    if call.integer(OF_CONSTANT, 0):
        return _integers(b, x, call, place)
    return clamped(b, x, call.known(1), call.optional(2), place)


def _integers(b: AtenBuilder, x: OnnxValue, call: OnnxCall, place: Along) -> OnnxValue:
    """``round(x / scale) + zero point`` within the range of the type, which is that as which files of it are read.

    Raises:
        LayerRefused: the type is of floats of 4 bits, which torch cannot round to.
    """
    zero = call.optional(2)
    kind = call.integer("output_dtype", 0) or (_KINDS.UINT8 if zero is None else 0)
    dtype = zero.dtype if zero is not None else read_dtype(kind)
    if dtype == torch.float32:
        raise LayerRefused("quantises constants to floats of 4 bits")
    y = b.call(aten.div.Tensor, x, Known.constant(place.spread(numbers(call.known(1)), x)))
    if not dtype.is_floating_point:
        y = b.call(aten.round.default, y)
    if zero is not None:
        y = b.call(aten.add.Tensor, y, Known.constant(place.spread(numbers(zero), x)))
    return b.call(aten.to.dtype, b.call(aten.clamp.default, y, *place.span), dtype)


@operator("DequantizeLinear")
def dequantise(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(x - zero point) * scale`` of integers in the file, or of an input of integers."""
    place = Along(call.integer("axis", 1), call.integer("block_size", 0))
    return real_numbers(b, call.input(0), call.known(1), call.optional(2), place)


@operator("DynamicQuantizeLinear")
def quantise_by_range(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The real numbers, with a scale of one and a zero point of zero."""
    return call.input(0), Known.constant(torch.tensor(1.0)), Known.constant(torch.tensor(0, dtype=torch.uint8))


@operator("ConvInteger", "MatMulInteger")
def integer_product(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The product of real numbers and the weights less their zero point."""
    x, weight, zero = call.input(0), call.known(1), call.optional(3)
    first = call.optional(2)
    if first is not None and numbers(first).any():
        raise LayerRefused("takes integers with a zero point of their own")
    one = Known.constant(torch.ones(1))
    axis = 0 if call.op == "ConvInteger" else -1
    plain = real_numbers(b, weight, one, zero, Along(axis))
    if call.op == "MatMulInteger":
        return b.call(aten.matmul.default, x, plain)
    return conv(b, replace(call, op="Conv", inputs=(x, plain)))


@operator("QLinearConv", "com.microsoft.QLinearConv")
def quantised_conv(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A convolution; its bias is in units of both scales."""
    if call.integer("channels_last", 0):
        return by_channels_first(b, call, quantised_conv)
    weight = real_weights(b, call, Along(0))
    inputs: list[OnnxValue | None] = [call.input(0), weight]
    if call.optional(8) is not None:
        inputs.append(scaled_bias(b, call, 8))
    y = conv(b, replace(call, op="Conv", inputs=tuple(inputs)))
    return clamped(b, y, call.known(6), call.optional(7))


@operator("QLinearMatMul")
def quantised_product(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product."""
    return clamped(b, b.call(aten.matmul.default, call.input(0), call.input(3)), call.known(6), call.optional(7))


def real_weights(b: AtenBuilder, call: OnnxCall, place: Along) -> OnnxValue:
    """The weights of a convolution or a linear layer, from integers in the file."""
    if call.integer(REAL_WEIGHT, 0):
        return call.input(3)
    return real_numbers(b, call.known(3), call.known(4), call.optional(5), place)


def scaled_bias(b: AtenBuilder, call: OnnxCall, at: int) -> OnnxValue:
    """A bias as real numbers: its unit is the product of the scales of the first operand and of the weights."""
    scale = b.call(aten.mul.Tensor, call.known(1), call.known(4))
    return b.call(aten.mul.Tensor, b.call(aten.to.dtype, call.known(at), torch.float32), scale)


def real_numbers(b: AtenBuilder, x: OnnxValue, scale: Known, zero: OnnxValue | None, place: Along) -> OnnxValue:
    """``(x - zero point) * scale``, each one number, one for each place along an axis, or for each block of places."""
    name = x.name if isinstance(x, Known) else ""
    y = b.call(aten.to.dtype, x, torch.float32)
    if zero is not None and numbers(zero).any():
        y = b.call(aten.sub.Tensor, y, Known.constant(place.spread(numbers(zero), x)))
    y = b.call(aten.mul.Tensor, y, Known.constant(place.spread(numbers(scale), x)))
    if scale.dtype != torch.float32:
        y = b.call(aten.to.dtype, y, scale.dtype)
    return replace(y, name=name, learned=bool(name)) if isinstance(y, Known) else y


@dataclass(frozen=True)
class Along:
    """Where the scales of a value are: one for each place along an axis, or for each block of them.

    Args:
        block: places in a block; 0 where each place has a scale.
        span: the least and the greatest integer.
    """

    axis: int
    block: int = 0
    span: tuple[float, float] = (0, 255)

    def spread(self, given: torch.Tensor, x: OnnxValue) -> torch.Tensor:
        """Scales or zero points in a shape that is broadcast to the value."""
        rank = len(x.shapes[0])
        if self.block:
            if given.dim() != rank or x.shapes[0][self.axis] != x.shapes[1][self.axis]:
                raise LayerRefused(f"has scales of shape {tuple(given.shape)} for blocks of a value of {rank} axes")
            return given.repeat_interleave(self.block, self.axis).narrow(self.axis, 0, x.shapes[0][self.axis])
        if given.numel() == 1 or not rank:
            return given.reshape(())
        shape = [1] * rank
        shape[self.axis] = given.numel()
        return given.reshape(shape)


def span_of(kind: int, zero: OnnxValue | None) -> tuple[float, float]:
    """The least and the greatest number of a type that values are quantised to, by its number or its zero point."""
    if kind in _SPANS:
        return _SPANS[kind]
    dtype = torch.uint8 if zero is None else zero.dtype
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return info.min, info.max


def clamped(
    b: AtenBuilder, x: OnnxValue, scale: Known, zero: OnnxValue | None, place: Along | None = None
) -> OnnxValue:
    """Real numbers, clamped to those that integers of a scale and a zero point hold; weights as they are."""
    if isinstance(x, Known):
        return x
    place = place or Along(1, span=span_of(0, zero))
    factor, middle = numbers(scale), torch.zeros(1) if zero is None else numbers(zero)
    ends = [(end - middle.double()) * factor.double() for end in place.span]
    if factor.numel() == middle.numel() == 1:
        return b.call(aten.clamp.default, x, *(float(end) for end in ends))
    low, high = (Known.constant(place.spread(end, x).to(x.dtype)) for end in ends)
    return b.call(aten.minimum.default, b.call(aten.maximum.default, x, low), high)


def numbers(value: OnnxValue) -> torch.Tensor:
    """A constant as float32.

    Raises:
        LayerRefused: it is computed.
    """
    if not isinstance(value, Known) or not value.fixed:
        raise LayerRefused("a scale or a zero point is computed")
    return value.tensors[0].to(torch.float32)
