"""Activations: one number in, one number out."""

from __future__ import annotations

import torch

from fullfield.importers.onnx.builder import Builder
from fullfield.importers.onnx.registry import Call, Refusal, operator
from fullfield.importers.onnx.values import Known, Value

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
    "Not": aten.logical_not.default,
    "HardSwish": aten.hardswish.default,
    "Mish": aten.mish.default,
    "Softplus": aten.softplus.default,
}


@operator(*_PLAIN)
def plain(b: Builder, call: Call) -> Value:
    """Operators that mean the same in ATen."""
    return b.call(_PLAIN[call.op], call.input(0))


@operator("Identity", "Dropout")
def identity(b: Builder, call: Call) -> Value | tuple[Value, ...]:
    """The input as it is; dropout does nothing in evaluation. Its mask, if asked for, is all true."""
    x = call.input(0)
    if call.op == "Identity" or call.outputs < 2:
        return x
    return x, b.full(x.shapes, 1, torch.bool)


@operator("LeakyRelu")
def leaky_relu(b: Builder, call: Call) -> Value:
    """``x`` where positive, else ``alpha * x``."""
    return b.call(aten.leaky_relu.default, call.input(0), call.real("alpha", 0.01))


@operator("ThresholdedRelu")
def thresholded_relu(b: Builder, call: Call) -> Value:
    """``x`` where above ``alpha``, else 0."""
    return b.call(aten.threshold.default, call.input(0), call.real("alpha", 1.0), 0.0)


@operator("Elu")
def elu(b: Builder, call: Call) -> Value:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    return b.call(aten.elu.default, call.input(0), call.real("alpha", 1.0))


@operator("Celu")
def celu(b: Builder, call: Call) -> Value:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``."""
    return b.call(aten.celu.default, call.input(0), call.real("alpha", 1.0))


@operator("Selu")
def selu(b: Builder, call: Call) -> Value:
    """``gamma`` times an ELU with ``alpha``; ATen's own when both are the published ones."""
    alpha, gamma = call.attributes.get("alpha"), call.attributes.get("gamma")
    if alpha is None and gamma is None:
        return b.call(aten.selu.default, call.input(0))
    scale = call.real("gamma", 1.0507009873554805)
    return b.call(aten.elu.default, call.input(0), call.real("alpha", 1.6732632423543772), scale)


@operator("Gelu")
def gelu(b: Builder, call: Call) -> Value:
    """``x * P(normal <= x)``, exact or with tanh."""
    return b.call(aten.gelu.default, call.input(0), approximate=call.text("approximate", "none"))


@operator("Swish")
def swish(b: Builder, call: Call) -> Value:
    """``x * sigmoid(alpha * x)``."""
    x, alpha = call.input(0), call.real("alpha", 1.0)
    if alpha == 1:
        return b.call(aten.silu.default, x)
    return b.call(aten.mul.Tensor, x, b.call(aten.sigmoid.default, b.call(aten.mul.Tensor, x, alpha)))


@operator("Softsign")
def softsign(b: Builder, call: Call) -> Value:
    """``x / (1 + |x|)``."""
    x = call.input(0)
    return b.call(aten.div.Tensor, x, b.call(aten.add.Tensor, b.call(aten.abs.default, x), 1))


@operator("HardSigmoid")
def hard_sigmoid(b: Builder, call: Call) -> Value:
    """``alpha * x + beta`` held within 0 and 1."""
    x, alpha, beta = call.input(0), call.real("alpha", 0.2), call.real("beta", 0.5)
    if beta == 0.5 and abs(alpha - 1 / 6) < 1e-7:
        return b.call(aten.hardsigmoid.default, x)
    line = b.call(aten.add.Tensor, b.call(aten.mul.Tensor, x, alpha), beta)
    return b.call(aten.clamp.default, line, 0, 1)


@operator("PRelu")
def prelu(b: Builder, call: Call) -> Value:
    """``x`` where positive, else ``slope * x``; any slope that broadcasts to ``x``, or one a channel before opset 7."""
    x, slope = call.input(0), call.weight(1)
    dims, given = x.shapes[0], slope.shapes[0] if slope is not None else ()
    if isinstance(slope, Known) and slope.fixed:
        count = slope.at[0].numel()
        if call.opset < 7 and given == dims[1:2]:
            given = (dims[1],) + (1,) * (len(dims) - 2)
        lined_up = (1,) * (len(dims) - len(given)) + tuple(given)
        per_channel = len(dims) > 1 and lined_up == (1, dims[1]) + (1,) * (len(dims) - 2)
        if count == 1 or per_channel:
            return b.call(aten.prelu.default, x, b.reshape(slope, ([count], [count])))
    below = b.call(aten.clamp.default, x, None, 0)
    return b.call(aten.add.Tensor, b.call(aten.relu.default, x), b.call(aten.mul.Tensor, below, slope))


@operator("Clip")
def clip(b: Builder, call: Call) -> Value:
    """``x`` held within two constants, given as attributes before opset 11."""
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        bound = call.constant(index)
        if bound is None and call.optional(index) is not None:
            raise Refusal(f"{name} depends on the pixels or the batch")
        if bound is not None and bound.at[0].numel() != 1:
            raise Refusal(f"{name} has {bound.at[0].numel()} values, not one")
        bounds.append(bound.at[0].item() if bound is not None else call.attributes.get(name))
    if bounds == [None, None]:
        return call.input(0)
    return b.call(aten.clamp.default, call.input(0), *bounds)
