"""Reads quantised ONNX networks as the float networks that they approximate: with their weights, without rounding.

A value between ``QuantizeLinear`` and ``DequantizeLinear`` is kept as the real number that it means, clamped to what
the integers can hold, which is how quantised networks often write a ReLU.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.linear import gemm
from fullfield.importers.onnx.pooling import average_pool, global_average_pool
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.subgraphs import inner_graphs
from fullfield.importers.onnx.values import Known, OnnxValue
from fullfield.importers.onnx.windowed import conv

aten = torch.ops.aten

_MAKERS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm")
_KEEPS = frozenset({
    "Concat", "DepthToSpace", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip


def keep_real(graph: onnx.GraphProto) -> bool:
    """Leaves out the conversions of values that are kept as real numbers; returns whether the network is quantised."""
    return _keep_real(graph, set())


def _keep_real(graph: onnx.GraphProto, real: set[str]) -> bool:
    found = False
    for node in graph.node:
        if node.op_type.startswith(_MAKERS):
            found = True
            real.update(node.output[:1])
        elif node.op_type == "DequantizeLinear":
            found = True
            if node.input[0] in real:
                node.op_type = "Identity"
                del node.attribute[:], node.input[1:]
        elif node.op_type in ("ConvInteger", "MatMulInteger"):
            found = True
        elif node.op_type in _KEEPS and not real.isdisjoint(node.input):
            real.update(node.output)
        for inner in inner_graphs(node):
            found |= _keep_real(inner, real)
    return found


@operator("QuantizeLinear")
def quantise(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The real numbers, clamped to those that the integers hold."""
    return _clamped(b, call.input(0), call.known(1), call.optional(2))


@operator("DequantizeLinear")
def dequantise(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(x - zero point) * scale`` of integers in the file, or of an input of integers."""
    if call.integer("block_size", 0):
        raise LayerRefused("has a scale for each block")
    return _real(b, call.input(0), call.known(1), call.optional(2), call.integer("axis", 1))


@operator("DynamicQuantizeLinear")
def quantise_by_range(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The real numbers, with a scale of one and a zero point of zero."""
    return call.input(0), Known.constant(torch.tensor(1.0)), Known.constant(torch.tensor(0, dtype=torch.uint8))


@operator("ConvInteger", "MatMulInteger")
def integer_product(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The product of real numbers and the weights less their zero point."""
    x, weight, zero = call.input(0), call.known(1), call.optional(3)
    first = call.optional(2)
    if first is not None and _numbers(first).any():
        raise LayerRefused("takes integers with a zero point of their own")
    one = Known.constant(torch.ones(1))
    axis = 0 if call.op == "ConvInteger" else -1
    plain = _real(b, weight, one, zero, axis)
    if call.op == "MatMulInteger":
        return b.call(aten.matmul.default, x, plain)
    return conv(b, replace(call, op="Conv", inputs=(x, plain)))


@operator("QLinearConv")
def quantised_conv(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A convolution; its bias is in units of both scales."""
    weight = _real(b, call.known(3), call.known(4), call.optional(5), 0)
    inputs: list[OnnxValue | None] = [call.input(0), weight]
    if call.optional(8) is not None:
        inputs.append(_bias(b, call, 8))
    y = conv(b, replace(call, op="Conv", inputs=tuple(inputs)))
    return _clamped(b, y, call.known(6), call.optional(7))


@operator("QLinearMatMul")
def quantised_product(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product."""
    sides = [_operand(b, call, at, -1) for at in (0, 3)]
    return _clamped(b, b.call(aten.matmul.default, *sides), call.known(6), call.optional(7))


@operator("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def quantised_arithmetic(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A sum or a product, number by number."""
    target = aten.add.Tensor if call.op == "QLinearAdd" else aten.mul.Tensor
    return _clamped(b, b.call(target, *(_operand(b, call, at, 1) for at in (0, 3))), call.known(6), call.optional(7))


@operator("com.microsoft.QGemm")
def quantised_gemm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product with its bias, in units of both scales."""
    features = 0 if call.integer("transB", 0) else 1
    inputs: list[OnnxValue | None] = [call.input(0), _real(b, call.known(3), call.known(4), call.optional(5), features)]
    if call.optional(6) is not None:
        inputs.append(_bias(b, call, 6))
    y = gemm(b, replace(call, op="Gemm", inputs=tuple(inputs)))
    return y if call.optional(7) is None else _clamped(b, y, call.known(7), call.optional(8))


@operator("com.microsoft.QLinearGlobalAveragePool", "com.microsoft.QLinearAveragePool")
def quantised_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean under a kernel, or over the whole map."""
    if call.integer("channels_last", 0):
        raise LayerRefused("takes its channels last")
    pool = average_pool if call.op == "QLinearAveragePool" else global_average_pool
    y = pool(b, replace(call, inputs=call.inputs[:1]))
    return _clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu")
def quantised_activation(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """An activation."""
    if call.op == "QLinearSigmoid":
        y = b.call(aten.sigmoid.default, call.input(0))
    else:
        y = b.call(aten.leaky_relu.default, call.input(0), call.real("alpha", 0.01))
    return _clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.QLinearConcat")
def quantised_concat(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A concatenation; the scale of the result comes first."""
    values = [_operand(b, call, at, 1) for at in range(2, len(call.inputs), 3)]
    return _clamped(b, b.call(aten.cat.default, values, call.integer("axis", 1)), call.known(0), call.optional(1))


def _operand(b: AtenBuilder, call: OnnxCall, at: int, axis: int) -> OnnxValue:
    """An input as real numbers: as it is, or of integers in the file; its scale and zero point follow it."""
    value = call.input(at)
    return _real(b, value, call.known(at + 1), call.optional(at + 2), axis) if isinstance(value, Known) else value


def _bias(b: AtenBuilder, call: OnnxCall, at: int) -> OnnxValue:
    """A bias as real numbers: its unit is the product of the scales of the first operand and of the weights."""
    scale = b.call(aten.mul.Tensor, call.known(1), call.known(4))
    return b.call(aten.mul.Tensor, b.call(aten.to.dtype, call.known(at), torch.float32), scale)


def _real(b: AtenBuilder, x: OnnxValue, scale: Known, zero: OnnxValue | None, axis: int) -> OnnxValue:
    """``(x - zero point) * scale``, both along an axis where they are vectors."""
    rank, name = len(x.shapes[0]), x.name if isinstance(x, Known) else ""
    y = b.call(aten.to.dtype, x, torch.float32)
    if zero is not None and _numbers(zero).any():
        y = b.call(aten.sub.Tensor, y, Known.constant(_along(_numbers(zero), rank, axis)))
    y = b.call(aten.mul.Tensor, y, Known.constant(_along(_numbers(scale), rank, axis)))
    return replace(y, name=name, learned=bool(name)) if isinstance(y, Known) else y


def _along(numbers: torch.Tensor, rank: int, axis: int) -> torch.Tensor:
    if numbers.numel() == 1 or not rank:
        return numbers.reshape(())
    shape = [1] * rank
    shape[axis] = numbers.numel()
    return numbers.reshape(shape)


def _clamped(b: AtenBuilder, x: OnnxValue, scale: Known, zero: OnnxValue | None) -> OnnxValue:
    """Real numbers, clamped to those that integers of a scale and a zero point hold; weights as they are."""
    if isinstance(x, Known):
        return x
    span = torch.iinfo(torch.uint8 if zero is None else zero.dtype)
    numbers, middle = _numbers(scale), torch.zeros(1) if zero is None else _numbers(zero)
    if numbers.numel() != 1 or middle.numel() != 1:
        raise LayerRefused("has a scale for each channel of a map")
    low, high = ((float(end) - float(middle)) * float(numbers) for end in (span.min, span.max))
    return b.call(aten.clamp.default, x, low, high)


def _numbers(value: OnnxValue) -> torch.Tensor:
    """A constant as float32.

    Raises:
        LayerRefused: it is computed.
    """
    if not isinstance(value, Known) or not value.fixed:
        raise LayerRefused("a scale or a zero point is computed")
    return value.tensors[0].to(torch.float32)
