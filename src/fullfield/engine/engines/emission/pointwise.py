"""Operators that compute every number from one of each tensor that they read."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fullfield.engine.engines.emission.call import OperatorCall, Translation, number
from fullfield.engine.engines.emission.writer import BINARY, UNARY, GraphValue, GraphWriter

_LARGEST = float(torch.finfo(torch.float32).max)


def _unary(name: str) -> Translation:
    return Translation(lambda to, call: to.unary(name, call.value(to, next(iter(call.args)))))


def _binary(name: str) -> Translation:
    def write(to: GraphWriter, call: OperatorCall) -> GraphValue:
        first, second = list(call.args)[:2]
        other = call.value(to, second)
        if (alpha := call["alpha"]) not in (None, 1):
            other = to.binary("mul", other, number(to, alpha))
        return to.binary(name, call.value(to, first), other)

    return Translation(write, lambda call: call["rounding_mode"] is None)


def _reversed_sub(to: GraphWriter, call: OperatorCall) -> GraphValue:
    x = call.value(to, "self")
    if call["alpha"] != 1:
        x = to.binary("mul", x, number(to, call["alpha"]))
    return to.binary("sub", call.value(to, "other"), x)


def _clamp(low: str | float, high: str | float) -> Translation:
    """Limits by arguments of these names, or by these numbers."""

    def limit(call: OperatorCall, of: str | float, default: float) -> float:
        found = call[of] if isinstance(of, str) else of
        return default if found is None else float(found)

    def write(to: GraphWriter, call: OperatorCall) -> GraphValue:
        return to.clamp(call.value(to, "self"), limit(call, low, -_LARGEST), limit(call, high, _LARGEST))

    def numbers(call: OperatorCall) -> bool:
        return all(isinstance(call[of], (int, float, type(None))) for of in (low, high) if isinstance(of, str))

    return Translation(write, numbers)


def _hardsigmoid(to: GraphWriter, call: OperatorCall) -> GraphValue:
    shifted = to.clamp(to.binary("add", call.value(to, "self"), number(to, 3.0)), 0.0, 6.0)
    return to.binary("div", shifted, number(to, 6.0))


def _softplus(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return to.unary("softplus", call.value(to, "self"))


def _prelu(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """One slope for each place along dimension 1, or one for all."""
    slope = call.fixed("weight")
    assert slope is not None
    return to.prelu(call.value(to, "self"), to.constant(slope.reshape(1, -1, *[1] * (len(call.shape) - 2)).float()))


def _leaky(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return to.prelu(call.value(to, "self"), number(to, call["negative_slope"]))


def _selu(to: GraphWriter, call: OperatorCall) -> GraphValue:
    scaled = to.elu(call.value(to, "self"), 1.6732632423543772)
    return to.binary("mul", scaled, number(to, 1.0507009873554805))


def _multiplied_and_added(to: GraphWriter, call: OperatorCall) -> GraphValue:
    product = to.binary("mul", call.value(to, "tensor1"), call.value(to, "tensor2"))
    if call["value"] != 1:
        product = to.binary("mul", product, number(to, call["value"]))
    return to.binary("add", call.value(to, "self"), product)


def _composed(*steps: Callable[[GraphWriter, GraphValue], GraphValue]) -> Translation:
    def write(to: GraphWriter, call: OperatorCall) -> GraphValue:
        value = call.value(to, "self")
        for step in steps:
            value = step(to, value)
        return value

    return Translation(write)


def _reciprocal(to: GraphWriter, x: GraphValue) -> GraphValue:
    return to.binary("div", number(to, 1.0), x)


def _root(to: GraphWriter, x: GraphValue) -> GraphValue:
    return to.unary("sqrt", x)


def _square(to: GraphWriter, x: GraphValue) -> GraphValue:
    return to.binary("mul", x, x)


def _same(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return call.value(to, next(iter(call.args)))


_PLAIN_ELU = {"scale": 1, "input_scale": 1}
TABLE = {
    **{name: _unary(name) for name in UNARY - {"softplus"}},
    **{name: _binary(name) for name in BINARY},
    "multiply": _binary("mul"),
    "divide": _binary("div"),
    "subtract": _binary("sub"),
    "special_expit": _unary("sigmoid"),
    "root": _unary("sqrt"),
    "square": _composed(_square),
    "rsub": Translation(_reversed_sub),
    "clamp": _clamp("min", "max"),
    "clamp_min": _clamp("min", _LARGEST),
    "clamp_max": _clamp(-_LARGEST, "max"),
    "hardtanh": _clamp("min_val", "max_val"),
    "relu6": _clamp(0.0, 6.0),
    "hardsigmoid": Translation(_hardsigmoid),
    "softplus": Translation(_softplus, lambda call: call["beta"] == 1),
    "gelu": Translation(lambda to, call: to.gelu(call.value(to, "self"), call["approximate"])),
    "elu": Translation(
        lambda to, call: to.elu(call.value(to, "self"), float(call["alpha"])),
        lambda call: all(call[name] == plain for name, plain in _PLAIN_ELU.items()),
    ),
    "selu": Translation(_selu),
    "prelu": Translation(_prelu, lambda call: call.fixed("weight") is not None and len(call.shape) > 1),
    "leaky_relu": Translation(_leaky),
    "rsqrt": _composed(_root, _reciprocal),
    "reciprocal": _composed(_reciprocal),
    "addcmul": Translation(_multiplied_and_added),
    **{name: Translation(_same) for name in ("clone", "contiguous", "detach", "alias", "lift_fresh_copy")},
    **{name: Translation(_same) for name in ("to", "_to_copy")},
    "dropout": Translation(_same, lambda call: call["train"] is False),
}
