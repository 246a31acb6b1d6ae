"""Maps ONNX matrix products."""

from __future__ import annotations

from dataclasses import replace

import torch

from fullfield.importers.onnx.activations import fused_activation
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue

aten = torch.ops.aten


@operator("MatMul")
def matmul(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product; a linear layer if the right operand is a constant matrix, which is transposed once."""
    x, y = call.input(0), call.input(1)
    matrix = call.constant(1)
    if matrix is None or matrix.tensors[0].dim() != 2 or isinstance(x, Known):
        return b.call(aten.matmul.default, x, y)
    return b.call(aten.linear.default, x, _transposed(b, matrix))


@operator("Gemm")
def gemm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``alpha * A @ B + beta * C``; a linear layer if B is a constant, with the factors folded into its weights."""
    x, alpha, beta = call.input(0), call.real("alpha", 1.0), call.real("beta", 1.0)
    if call.integer("transA", 0):
        x = b.call(aten.permute.default, x, [1, 0])
    matrix, bias = call.constant(1), call.optional(2)
    if matrix is None or isinstance(x, Known):
        return _product(b, call, x, alpha, beta)
    weight = matrix if call.integer("transB", 0) else _transposed(b, matrix)
    weight = _scaled(b, replace(weight, learned=True), alpha)
    vector = call.constant(2)
    features = weight.shapes[0][0]
    if bias is None or beta == 0:
        return b.call(aten.linear.default, x, weight)
    if vector is not None and _is_vector(vector.tensors[0], features):
        flat = b.expand(b.reshape(vector, ([vector.tensors[0].numel()],) * 2), ([features], [features]))
        assert isinstance(flat, Known)
        return b.call(aten.linear.default, x, weight, replace(_scaled(b, flat, beta), learned=True))
    return _plus(b, b.call(aten.linear.default, x, weight), bias, beta)


@operator("Einsum")
def einsum(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A sum of products over named axes."""
    return b.call(aten.einsum.default, call.text("equation", "").replace(" ", ""), list(call.inputs))


@operator("Det")
def determinant(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The determinants of matrices in the last two axes."""
    return b.call(aten.linalg_det.default, call.input(0))


def _is_vector(tensor: torch.Tensor, features: int) -> bool:
    return tensor.numel() == 1 or (tensor.numel() == features and tensor.shape[-1] == features)


def _transposed(b: AtenBuilder, matrix: Known) -> Known:
    transposed = b.call(aten.t.default, replace(matrix, learned=True))
    assert isinstance(transposed, Known)
    return replace(transposed, learned=True)


def _scaled(b: AtenBuilder, value: Known, factor: float) -> Known:
    if factor == 1:
        return value
    scaled = b.call(aten.mul.Tensor, value, factor)
    assert isinstance(scaled, Known)
    return replace(scaled, learned=True)


def _product(b: AtenBuilder, call: OnnxCall, x: OnnxValue, alpha: float, beta: float) -> OnnxValue:
    y, bias = call.input(1), call.optional(2)
    if call.integer("transB", 0):
        y = b.call(aten.permute.default, y, [1, 0])
    product = b.call(aten.matmul.default, x, y)
    if alpha != 1:
        product = b.call(aten.mul.Tensor, product, alpha)
    return product if bias is None or beta == 0 else _plus(b, product, bias, beta)


def _plus(b: AtenBuilder, product: OnnxValue, bias: OnnxValue, beta: float) -> OnnxValue:
    if beta != 1:
        bias = b.call(aten.mul.Tensor, bias, beta)
    return b.call(aten.add.Tensor, product, bias)


@operator("com.microsoft.FusedGemm")
def fused_gemm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A matrix product with its bias, then an activation."""
    return fused_activation(b, call, gemm(b, call))


@operator("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def fused_matmul(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``alpha * A @ B`` of matrices in the last two axes, each transposed or not.

    Source: ONNX Runtime, operator FusedMatMul of com.microsoft: ``transBatch`` moves the first axis before the last.
    """
    sides = []
    for index, side in enumerate("AB"):
        value = call.weight(index) if index else call.input(index)
        assert value is not None
        rank = len(value.shapes[0])
        if call.integer(f"transBatch{side}", 0):
            value = b.call(aten.permute.default, value, [*range(1, rank - 1), 0, rank - 1])
        sides.append(b.call(aten.transpose.int, value, -1, -2) if call.integer(f"trans{side}", 0) else value)
    product = b.call(aten.matmul.default, *sides)
    alpha = call.real("alpha", 1.0)
    return product if alpha == 1 else b.call(aten.mul.Tensor, product, alpha)
