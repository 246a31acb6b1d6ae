"""Maps ONNX arithmetic, comparisons and casts."""

from __future__ import annotations

import functools
from dataclasses import replace

import onnx
import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.tensors import torch_dtype
from fullfield.importers.onnx.values import Known, OnnxValue, Traced

aten = torch.ops.aten

_COMPARE = {
    "Equal": (aten.eq.Tensor, aten.eq.Scalar),
    "Greater": (aten.gt.Tensor, aten.gt.Scalar),
    "GreaterOrEqual": (aten.ge.Tensor, aten.ge.Scalar),
    "Less": (aten.lt.Tensor, aten.lt.Scalar),
    "LessOrEqual": (aten.le.Tensor, aten.le.Scalar),
}
_LOGIC = {
    "And": aten.logical_and.default,
    "Or": aten.logical_or.default,
    "Xor": aten.logical_xor.default,
}
_FOLDS = {"Min": aten.minimum.default, "Max": aten.maximum.default, "Sum": aten.add.Tensor}


@operator("Add", "Mul")
def commutative(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x + y`` and ``x * y``; a single number becomes an immediate argument."""
    x, y = _operands(b, call)
    if call.op == "Add":
        fused = _bias(b, call, 0) or _bias(b, call, 1)
        if fused is not None:
            return fused
    target = aten.add.Tensor if call.op == "Add" else aten.mul.Tensor
    if isinstance(y, Traced) and _number(b, x, y) is not None:
        x, y = y, x
    number = _number(b, y, x)
    return b.call(target, x, y if number is None else number)


@operator("Sub")
def subtract(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x - y``."""
    x, y = _operands(b, call)
    number = _number(b, x, y)
    if number is not None:
        return b.call(aten.rsub.Scalar, y, number)
    number = _number(b, y, x)
    return b.call(aten.sub.Tensor, x, y if number is None else number)


@operator("Div")
def divide(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x / y``; integers are divided towards zero."""
    x, y = _operands(b, call)
    if not x.dtype.is_floating_point:
        return b.call(aten.div.Tensor_mode, x, y, rounding_mode="trunc")
    number = _number(b, y, x)
    return b.call(aten.div.Tensor, x, y if number is None else number)


@operator("Mod")
def modulo(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Remainder with the divisor's sign, or with ``fmod`` the dividend's."""
    target = aten.fmod.Tensor if call.integer("fmod", 0) else aten.remainder.Tensor
    return b.call(target, *_operands(b, call))


@operator("Pow")
def power(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x ** y`` in the type of ``x``."""
    x, y = _operands(b, call)
    number = _number(b, y, x)
    if number is not None and (x.dtype.is_floating_point or not isinstance(number, float)):
        return b.call(aten.pow.Tensor_Scalar, x, number)
    result = b.call(aten.pow.Tensor_Tensor, x, y)
    return result if result.dtype == x.dtype else b.call(aten.to.dtype, result, x.dtype)


@operator(*_FOLDS)
def variadic(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The operator applied to any number of inputs, from left to right."""
    values = [call.input(i) for i in range(len(call.inputs))]
    return functools.reduce(lambda x, y: b.call(_FOLDS[call.op], x, y), values)


@operator("Mean")
def mean(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The mean of any number of inputs."""
    return b.call(aten.div.Tensor, variadic(b, replace(call, op="Sum")), len(call.inputs))


@operator(*_COMPARE)
def compare(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Booleans, element by element."""
    x, y = _operands(b, call)
    tensor, scalar = _COMPARE[call.op]
    number = _number(b, y, x)
    return b.call(tensor, x, y) if number is None else b.call(scalar, x, number)


@operator(*_LOGIC)
def logic(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Logical operators."""
    return b.call(_LOGIC[call.op], *_operands(b, call))


@operator("Where")
def where(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where the condition holds, else ``y``."""
    return b.call(aten.where.self, call.buffer(0), call.input(1), call.input(2))


@operator("Cast")
def cast(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input converted to another type."""
    to = call.attributes.get("to", 0)
    if isinstance(to, bytes):  # before opset 6: the type's name
        to = onnx.TensorProto.DataType.Value(to.decode().upper())
    return _to(b, call.input(0), torch_dtype(to))


@operator("CastLike")
def cast_like(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The input converted to another tensor's type."""
    return _to(b, call.input(0), call.input(1).dtype)


def _operands(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, OnnxValue]:
    """Both operands; before opset 7 the second may be aligned to any axis of the first.

    ``onnx.version_converter`` gets that wrong (onnx 1.23: a vector along axis 1 becomes ``(c, 1, 1, 1)``).
    """
    x, y = call.input(0), call.input(1)
    if call.opset < 7 and call.integer("broadcast", 0) and "axis" in call.attributes:
        rank = len(x.shapes[0])
        trailing = rank - call.integer("axis", 0) % rank - len(y.shapes[0])
        low, high = ([*shape, *[1] * trailing] for shape in y.shapes)
        y = b.reshape(y, (low, high))
    return x, y


def _to(b: AtenBuilder, x: OnnxValue, dtype: torch.dtype | None) -> OnnxValue:
    if dtype is None or (dtype.is_floating_point and dtype.itemsize == 1):
        raise LayerRefused("casts to a type that torch does not compute in")
    return x if x.dtype == dtype else b.call(aten.to.dtype, x, dtype)


def _number(b: AtenBuilder, value: OnnxValue, other: OnnxValue) -> float | int | None:
    """``value`` as an immediate argument, if that changes neither shape nor type of the result."""
    if not isinstance(other, Traced) or len(value.shapes[0]) > len(other.shapes[0]) or value.dtype != other.dtype:
        return None
    return b.scalar(value)


def _bias(b: AtenBuilder, call: OnnxCall, at: int) -> OnnxValue | None:
    """A linear layer with a bias, from one without whose only reader adds a constant vector; else ``None``."""
    x, vector = call.input(at), call.weight(1 - at)
    if not isinstance(x, Traced) or not isinstance(vector, Known) or not vector.fixed or call.consumers[at] != 1:
        return None
    node, features = x.node, x.shapes[0][-1] if x.shapes[0] else 0
    if node.target is not aten.linear.default or len(node.args) != 2 or vector.tensors[0].numel() != features:
        return None
    if vector.tensors[0].dim() > len(x.shapes[0]) or vector.tensors[0].shape[-1:] != (features,):
        return None
    return b.extended(x, b.reshape(vector, ([features], [features])))
