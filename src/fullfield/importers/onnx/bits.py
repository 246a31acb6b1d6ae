"""Maps ONNX operators on bits, and those that make random numbers, which are refused."""

from __future__ import annotations

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import OnnxValue

aten = torch.ops.aten

_BITS = {
    "BitwiseAnd": aten.bitwise_and.Tensor,
    "BitwiseOr": aten.bitwise_or.Tensor,
    "BitwiseXor": aten.bitwise_xor.Tensor,
}


@operator(*_BITS)
def bitwise(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Bits of integers, pair by pair."""
    return b.call(_BITS[call.op], call.input(0), call.input(1))


@operator("BitwiseNot")
def bitwise_not(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The other bits."""
    return b.call(aten.bitwise_not.default, call.input(0))


@operator("BitShift")
def bit_shift(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Bits moved up or down."""
    left = call.text("direction", "") == "LEFT"
    target = aten.bitwise_left_shift.Tensor if left else aten.bitwise_right_shift.Tensor
    return b.call(target, call.input(0), call.input(1))


@operator("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def random(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Refused: no two runs of the network give the same scores."""
    raise LayerRefused("makes random numbers, other ones in every run")
