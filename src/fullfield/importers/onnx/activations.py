"""Maps ONNX activations."""

from __future__ import annotations

from dataclasses import replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator, shortest
from fullfield.importers.onnx.values import Known, OnnxValue

aten = torch.ops.aten

_PLAIN = {
    "Relu": aten.relu.default,
    "Sigmoid": aten.sigmoid.default,
    "Tanh": aten.tanh.default,
    "Erf": aten.erf.default,
    "Exp": aten.exp.default,
    "Log": aten.log.default,
    "Sqrt": aten.sqrt.default,
    "Reciprocal": aten.reciprocal.default,
    "Neg": aten.neg.default,
    "Abs": aten.abs.default,
    "Floor": aten.floor.default,
    "Ceil": aten.ceil.default,
    "Round": aten.round.default,
    "Sign": aten.sign.default,
    "Sin": aten.sin.default,
    "Cos": aten.cos.default,
    "Tan": aten.tan.default,
    "Asin": aten.asin.default,
    "Acos": aten.acos.default,
    "Atan": aten.atan.default,
    "Sinh": aten.sinh.default,
    "Cosh": aten.cosh.default,
    "Asinh": aten.asinh.default,
    "Acosh": aten.acosh.default,
    "Atanh": aten.atanh.default,
    "IsNaN": aten.isnan.default,
    "Not": aten.logical_not.default,
    "HardSwish": aten.hardswish.default,
    "Mish": aten.mish.default,
    "Softplus": aten.softplus.default,
}


@operator(*_PLAIN)
def plain(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Operators that ATen has too."""
    return b.call(_PLAIN[call.op], call.input(0))


@operator("Erfc")
def erfc(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``1 - erf(x)``: TensorFlow's operator in the GELU of Keras, which tf2onnx writes into its files as it is."""
    return b.call(aten.rsub.Scalar, b.call(aten.erf.default, call.input(0)), 1)


@operator("Identity", "Dropout")
def identity(b: AtenBuilder, call: OnnxCall) -> OnnxValue | tuple[OnnxValue, ...]:
    """The input unchanged; dropout does nothing in evaluation mode, and its mask is all true."""
    x = call.input(0)
    training = call.optional(2)
    if training is not None and (not isinstance(training, Known) or any(bool(t.any()) for t in training.tensors)):
        ratio = call.constant(1)
        if call.optional(1) is None or ratio is None or bool(ratio.tensors[0].any()):
            raise LayerRefused("is in training mode: it drops other numbers in every run; export in evaluation mode")
    if call.op == "Identity" or call.outputs < 2:
        return x
    return x, b.full(x.shapes, 1, torch.bool)


@operator("LeakyRelu")
def leaky_relu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where positive, else ``alpha * x``."""
    return b.call(aten.leaky_relu.default, call.input(0), call.real("alpha", 0.01))


@operator("ThresholdedRelu")
def thresholded_relu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where above ``alpha``, else 0."""
    return b.call(aten.threshold.default, call.input(0), call.real("alpha", 1.0), 0.0)


@operator("Elu")
def elu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    return b.call(aten.elu.default, call.input(0), call.real("alpha", 1.0))


@operator("Celu")
def celu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``."""
    return b.call(aten.celu.default, call.input(0), call.real("alpha", 1.0))


@operator("Selu")
def selu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``gamma`` times an ELU with ``alpha``; ATen's ``selu`` if both have their default values."""
    alpha, gamma = call.attributes.get("alpha"), call.attributes.get("gamma")
    if alpha is None and gamma is None:
        return b.call(aten.selu.default, call.input(0))
    scale = call.real("gamma", 1.0507009873554805)
    return b.call(aten.elu.default, call.input(0), call.real("alpha", 1.6732632423543772), scale)


@operator("Gelu")
def gelu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x * P(normal <= x)``, exact or with tanh."""
    return b.call(aten.gelu.default, call.input(0), approximate=call.text("approximate", "none"))


@operator("Swish", "com.microsoft.QuickGelu")
def swish(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x * sigmoid(alpha * x)``."""
    x, alpha = call.input(0), call.real("alpha", 1.702 if call.op == "QuickGelu" else 1.0)
    if alpha == 1:
        return b.call(aten.silu.default, x)
    return b.call(aten.mul.Tensor, x, b.call(aten.sigmoid.default, b.call(aten.mul.Tensor, x, alpha)))


@operator("Softsign")
def softsign(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x / (1 + |x|)``."""
    x = call.input(0)
    return b.call(aten.div.Tensor, x, b.call(aten.add.Tensor, b.call(aten.abs.default, x), 1))


@operator("HardSigmoid")
def hard_sigmoid(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``alpha * x + beta``, clamped to 0 … 1."""
    x, alpha, beta = call.input(0), call.real("alpha", 0.2), call.real("beta", 0.5)
    if beta == 0.5 and abs(alpha - 1 / 6) < 1e-7:
        return b.call(aten.hardsigmoid.default, x)
    line = b.call(aten.add.Tensor, b.call(aten.mul.Tensor, x, alpha), beta)
    return b.call(aten.clamp.default, line, 0, 1)


@operator("PRelu")
def prelu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` where positive, else ``slope * x``; before opset 7 the slope may be a vector over channels."""
    x, slope = call.input(0), call.weight(1)
    dims, given = x.shapes[0], slope.shapes[0] if slope is not None else ()
    if isinstance(slope, Known) and slope.fixed:
        count = slope.tensors[0].numel()
        if call.opset < 7 and given == dims[1:2]:
            given = (dims[1],) + (1,) * (len(dims) - 2)
        aligned = (1,) * (len(dims) - len(given)) + tuple(given)
        per_channel = len(dims) > 1 and aligned == (1, dims[1]) + (1,) * (len(dims) - 2)
        if count == 1 or per_channel:
            return b.call(aten.prelu.default, x, b.reshape(slope, ([count], [count])))
    below = b.call(aten.clamp.default, x, None, 0)
    return b.call(aten.add.Tensor, b.call(aten.relu.default, x), b.call(aten.mul.Tensor, below, slope))


@operator("Clip")
def clip(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` clamped to two constants, which are attributes before opset 11."""
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        bound = call.constant(index)
        if bound is None and call.optional(index) is not None:
            raise LayerRefused(f"{name} depends on the pixels or the batch")
        if bound is not None and bound.tensors[0].numel() != 1:
            raise LayerRefused(f"{name} has {bound.tensors[0].numel()} values, not one")
        bounds.append(bound.tensors[0].item() if bound is not None else call.attributes.get(name))
    if bounds == [None, None]:
        return call.input(0)
    return b.call(aten.clamp.default, call.input(0), *bounds)


@operator("Shrink")
def shrink(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` brought nearer to 0 by ``bias`` where it is farther than ``lambd``, else 0."""
    x, limit, bias = call.input(0), call.real("lambd", 0.5), call.real("bias", 0.0)
    above = b.call(aten.to.dtype, b.call(aten.gt.Scalar, x, limit), x.dtype)
    below = b.call(aten.to.dtype, b.call(aten.lt.Scalar, x, -limit), x.dtype)
    high = b.call(aten.mul.Tensor, b.call(aten.sub.Tensor, x, bias), above)
    return b.call(aten.add.Tensor, high, b.call(aten.mul.Tensor, b.call(aten.add.Tensor, x, bias), below))


@operator("IsInf")
def is_infinite(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Whether numbers are infinite, of both signs or of one."""
    x, above, below = call.input(0), call.integer("detect_positive", 1), call.integer("detect_negative", 1)
    if above and below:
        return b.call(aten.isinf.default, x)
    if not above and not below:
        return b.full(x.shapes, 0, torch.bool)
    return b.call(aten.eq.Scalar, x, float("inf") if above else float("-inf"))


@operator("com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.BiasGelu")
def fused_gelu(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``gelu(x + bias)``; FastGelu is the approximation with tanh."""
    x = call.input(0)
    if call.optional(1) is not None:
        x = b.call(aten.add.Tensor, x, call.weight(1))
    return b.call(aten.gelu.default, x, approximate="tanh" if call.op == "FastGelu" else "none")


_FUSED = {
    "Relu": (plain, ()),
    "Tanh": (plain, ()),
    "Sigmoid": (plain, ()),
    "LeakyRelu": (leaky_relu, ("alpha",)),
    "Clip": (clip, ("min", "max")),
    "HardSigmoid": (hard_sigmoid, ("alpha", "beta")),
}
"""What ONNX Runtime merges: how it is mapped where it is a node, and the attributes that its numbers are there."""


def fused_activation(b: AtenBuilder, call: OnnxCall, x: OnnxValue) -> OnnxValue:
    """The activation that ONNX Runtime merges into an operator before it.

    Raises:
        LayerRefused: it is unknown, or lacks its numbers.
    """
    name = call.text("activation", "")
    single = [call.attributes[each] for each in ("activation_alpha", "activation_beta") if each in call.attributes]
    numbers = [shortest(value) for value in call.attributes.get("activation_params", single)]
    if not name:
        return x
    if name not in _FUSED or (name in ("Clip", "HardSigmoid") and len(numbers) != 2):
        raise LayerRefused(f"its activation {name!r} with {len(numbers)} numbers is unknown")
    mapping, attributes = _FUSED[name]
    given = dict(zip(attributes, numbers, strict=False))
    return mapping(b, replace(call, op=name, inputs=(x,), attributes=given))
