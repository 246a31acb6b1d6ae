"""Means, sums, extremes, variances, norms and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fullfield.engine.engines.emission.call import OperatorCall, Translation, number
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter


def _reduce(name: str) -> Translation:
    def write(to: GraphWriter, call: OperatorCall) -> GraphValue:
        return to.reduce(name, call.value(to, "self"), call.dims("dim", "self"), keepdim=bool(call["keepdim"]))

    return Translation(write)


def _variance(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """The mean of squared differences from the mean, times ``n / (n - correction)``."""
    x, dims = call.value(to, "self"), call.dims("dim", "self")
    centred = to.binary("sub", x, to.reduce("mean", x, dims, keepdim=True))
    found = to.reduce("mean", to.binary("mul", centred, centred), dims, keepdim=bool(call["keepdim"]))
    count, correction = _count(call, dims), _correction(call)
    return to.binary("mul", found, number(to, count / (count - correction))) if correction else found


def _count(call: OperatorCall, dims: Sequence[int]) -> int:
    return math.prod(call.shape_of("self")[d] for d in dims)


def _correction(call: OperatorCall) -> float:
    if "correction" in call.args:
        return 1.0 if call["correction"] is None else float(call["correction"])
    return 1.0 if call["unbiased"] else 0.0


def _length(to: GraphWriter, call: OperatorCall) -> GraphValue:
    x, dims = call.value(to, "self"), call.dims("dim", "self")
    return to.unary("sqrt", to.reduce("sum", to.binary("mul", x, x), dims, keepdim=bool(call["keepdim"])))


def _is_plain_length(call: OperatorCall) -> bool:
    order = call["ord"] if "ord" in call.args else call["p"]
    return order in (None, 2) and call["dtype"] is None


def _batch_norm(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """A scale and a shift for each channel."""
    mean, variance = call.fixed("running_mean"), call.fixed("running_var")
    assert mean is not None
    assert variance is not None
    scale = (variance.double() + call["eps"]).rsqrt()
    if (weight := call.fixed("weight")) is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if (bias := call.fixed("bias")) is not None:
        shift = shift + bias.double()
    return to.scale_channels(call.value(to, "input"), scale.float(), shift.float(), len(call.shape))


def _has_statistics(call: OperatorCall) -> bool:
    fixed = call.fixed("running_mean") is not None and call.fixed("running_var") is not None
    return fixed and call["training"] is False and _fixed_or_none(call)


def _fixed_or_none(call: OperatorCall) -> bool:
    """Whether weight and bias are known, or left out."""
    return all(call[name] is None or call.fixed(name) is not None for name in ("weight", "bias"))


def _layer_norm(to: GraphWriter, call: OperatorCall) -> GraphValue:
    rank, normed = len(call.shape), len(call["normalized_shape"])
    found = to.normalize(call.value(to, "input"), list(range(rank - normed, rank)), rank, call["eps"])
    return _scaled(to, call, found, [])


def _scaled(to: GraphWriter, call: OperatorCall, value: GraphValue, column: list[int]) -> GraphValue:
    """A value times the weight, plus the bias, both in a shape."""
    for name, operator in (("weight", "mul"), ("bias", "add")):
        if (tensor := call.fixed(name)) is not None:
            value = to.binary(operator, value, to.constant(tensor.reshape(column) if column else tensor))
    return value


def _group_norm(to: GraphWriter, call: OperatorCall) -> GraphValue:
    shape = call.shape
    apart = to.reshape(
        call.value(to, "input"), [shape[0] * call["num_groups"], math.prod(shape[1:]) // call["num_groups"]]
    )
    normed = to.reshape(to.normalize(apart, [1], 2, call["eps"]), shape)
    return _scaled(to, call, normed, [1, -1, *[1] * (len(shape) - 2)])


def _instance_norm(to: GraphWriter, call: OperatorCall) -> GraphValue:
    rank = len(call.shape)
    found = to.normalize(call.value(to, "input"), list(range(2, rank)), rank, call["eps"])
    return _scaled(to, call, found, [1, -1, *[1] * (rank - 2)])


def _root_mean_square_norm(to: GraphWriter, call: OperatorCall) -> GraphValue:
    rank = len(call.shape)
    x, dims = call.value(to, "input"), list(range(rank - len(call["normalized_shape"]), rank))
    mean = to.reduce("mean", to.binary("mul", x, x), dims, keepdim=True)
    root = to.unary("sqrt", to.binary("add", mean, number(to, call["eps"])))
    return _scaled(to, call, to.binary("div", x, root), [])


def _softmax(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return to.softmax(call.value(to, "self"), call["dim"] % len(call.shape))


def _log_softmax(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Numbers less the largest, less the logarithm of the sum of their exponentials."""
    x, dims = call.value(to, "self"), [call["dim"] % len(call.shape)]
    x = to.binary("sub", x, to.reduce("max", x, dims, keepdim=True))
    total = to.reduce("sum", to.unary("exp", x), dims, keepdim=True)
    return to.binary("sub", x, to.unary("log", total))


TABLE = {
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "amax": _reduce("max"),
    "amin": _reduce("min"),
    "var": Translation(_variance, lambda call: _count(call, call.dims("dim", "self")) > _correction(call)),
    "linalg_vector_norm": Translation(_length, _is_plain_length),
    "batch_norm": Translation(_batch_norm, _has_statistics),
    "layer_norm": Translation(_layer_norm, _fixed_or_none),
    "group_norm": Translation(_group_norm, _fixed_or_none),
    "instance_norm": Translation(_instance_norm, lambda call: call["use_input_stats"] is True and _fixed_or_none(call)),
    "rms_norm": Translation(_root_mean_square_norm, lambda call: call["eps"] is not None and _fixed_or_none(call)),
    "softmax": Translation(_softmax),
    "_softmax": Translation(_softmax),
    "log_softmax": Translation(_log_softmax),
    "_log_softmax": Translation(_log_softmax),
}
