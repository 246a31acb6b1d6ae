"""Maps ONNX Runtime's own operators on integers to those on the real numbers that these mean."""

from __future__ import annotations

from dataclasses import replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import by_channels_first
from fullfield.importers.onnx.linear import gemm
from fullfield.importers.onnx.norms import softmax
from fullfield.importers.onnx.pooling import average_pool, global_average_pool
from fullfield.importers.onnx.quantised import Along, clamped, numbers, real_numbers, real_weights, scaled_bias
from fullfield.importers.onnx.reductions import reduce
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.tensors import unpacked
from fullfield.importers.onnx.values import Known, OnnxValue

aten = torch.ops.aten


@operator("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def quantised_arithmetic(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A sum or a product, number by number."""
    target = aten.add.Tensor if call.op == "QLinearAdd" else aten.mul.Tensor
    return clamped(b, b.call(target, call.input(0), call.input(3)), call.known(6), call.optional(7))


@operator("com.microsoft.QGemm")
def quantised_gemm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product with its bias, in units of both scales."""
    features = 0 if call.integer("transB", 0) else 1
    inputs: list[OnnxValue | None] = [
        call.input(0),
        real_weights(b, call, Along(features)),
    ]
    if call.optional(6) is not None:
        inputs.append(scaled_bias(b, call, 6))
    y = gemm(b, replace(call, op="Gemm", inputs=tuple(inputs)))
    return y if call.optional(7) is None else clamped(b, y, call.known(7), call.optional(8))


@operator("com.microsoft.QLinearGlobalAveragePool", "com.microsoft.QLinearAveragePool")
def quantised_pool(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean under a kernel, or over the whole map."""
    if call.integer("channels_last", 0):
        return by_channels_first(b, call, quantised_pool)
    pool = average_pool if call.op == "QLinearAveragePool" else global_average_pool
    y = pool(b, replace(call, inputs=call.inputs[:1]))
    return clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu")
def quantised_activation(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """An activation."""
    if call.op == "QLinearSigmoid":
        y = b.call(aten.sigmoid.default, call.input(0))
    else:
        y = b.call(aten.leaky_relu.default, call.input(0), call.real("alpha", 0.01))
    return clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.QLinearConcat")
def quantised_concat(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A concatenation; the scale of the result comes first."""
    values = [call.input(at) for at in range(2, len(call.inputs), 3)]
    return clamped(b, b.call(aten.cat.default, values, call.integer("axis", 1)), call.known(0), call.optional(1))


@operator("com.microsoft.QLinearSoftmax")
def quantised_softmax(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Softmax as the opset defines it that the node names."""
    y = softmax(b, replace(call, op="Softmax", inputs=call.inputs[:1], opset=call.integer("opset", call.opset)))
    return clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.QLinearReduceMean")
def quantised_mean(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean over axes."""
    y = reduce(b, replace(call, op="ReduceMean", inputs=call.inputs[:1]))
    return clamped(b, y, call.known(3), call.optional(4))


@operator("com.microsoft.DynamicQuantizeMatMul", "com.microsoft.MatMulIntegerToFloat")
def product_with_integers(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The product of real numbers and the weights that integers mean, and its bias."""
    dynamic = call.op == "DynamicQuantizeMatMul"
    scale, zero, bias = (2, 3, 4) if dynamic else (3, 5, 6)
    weight = real_numbers(b, call.known(1), call.known(scale), call.optional(zero), Along(-1))
    y = b.call(aten.linear.default, call.input(0), b.call(aten.t.default, weight))
    if not dynamic:
        y = b.call(aten.mul.Tensor, y, float(numbers(call.known(2))))
    return y if call.optional(bias) is None else b.call(aten.add.Tensor, y, call.weight(bias))


@operator("com.microsoft.MatMulNBits")
def product_with_blocks(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A linear layer; its weights are integers of 2, 4 or 8 bits with a scale for each block of inputs.

    Source: ONNX Runtime, operator MatMulNBits of com.microsoft: ``B`` is ``(n, blocks, bytes of a block)``, the first
    number of a byte in its lowest bits; zero points are packed in the same way, or of the type of the scales.
    """
    features, inputs, bits = call.integer("N", 0), call.integer("K", 0), call.integer("bits", 4)
    size = call.integer("block_size", 0)
    if call.optional(4) is not None or bits not in (2, 4, 8) or min(features, inputs, size) < 1:
        raise LayerRefused(f"with {bits} bits, blocks of {size}, or inputs in another order")
    blocks = -(-inputs // size)
    b.allowance.fold((features, blocks * size), torch.float32)
    packed, scales = call.known(1).tensors[0], numbers(call.known(2)).reshape(features, blocks, 1)
    whole = unpacked(packed.reshape(features, blocks, -1), bits).float()
    zero = torch.full((features, blocks, 1), float(2 ** (bits - 1)))
    if call.optional(3) is not None:
        given = call.known(3).tensors[0]
        if not given.is_floating_point():
            given = unpacked(given.reshape(features, -1), bits)[:, :blocks]
        zero = given.float().reshape(features, blocks, 1)
    matrix = ((whole - zero) * scales).reshape(features, -1)[:, :inputs].contiguous()
    x = call.input(0)
    weight = Known((matrix := matrix.to(x.dtype), matrix), call.known(1).name, learned=True)
    return b.call(aten.linear.default, x, weight, call.weight(5))
