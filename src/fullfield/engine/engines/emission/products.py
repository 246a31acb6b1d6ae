"""Linear layers, matrix products and attention."""

from __future__ import annotations

import math

from fullfield.engine.engines.emission.call import OperatorCall, Translation, number
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter


def _linear(to: GraphWriter, call: OperatorCall) -> GraphValue:
    x, weight, bias = call.value(to, "input"), call.value(to, "weight"), call.optional(to, "bias")
    return to.linear(x, weight, bias, call.shape_of("input"))


def _product(to: GraphWriter, call: OperatorCall) -> GraphValue:
    first, second = list(call.args)[:2]
    return to.matmul(call.value(to, first), call.value(to, second))


def _are_matrices(call: OperatorCall) -> bool:
    return all(len(call.shape_of(name)) >= 2 for name in list(call.args)[:2])


def _added_product(to: GraphWriter, call: OperatorCall) -> GraphValue:
    first, second = [name for name in call.args if name not in ("self", "beta", "alpha")][:2]
    product = to.matmul(call.value(to, first), call.value(to, second))
    return to.binary("add", product, call.value(to, "self"))


def _attention(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Queries times keys, scaled, masked, their softmax times values."""
    query = call.value(to, "query")
    scale = call["scale"] if call["scale"] is not None else 1 / math.sqrt(call.shape_of("query")[-1])
    rank = len(call.shape)
    key = to.transpose(call.value(to, "key"), [*range(rank - 2), rank - 1, rank - 2])
    weights = to.matmul(to.binary("mul", query, number(to, scale)), key)
    if call["attn_mask"] is not None:
        weights = to.binary("add", weights, call.value(to, "attn_mask"))
    return to.matmul(to.softmax(weights, rank - 1), call.value(to, "value"))


def _is_plain_attention(call: OperatorCall) -> bool:
    mask = call["attn_mask"]
    adds = mask is None or call.values[mask].is_floating_point()
    return adds and not (call["dropout_p"] or call["is_causal"] or call["enable_gqa"])


TABLE = {
    "linear": Translation(_linear, lambda call: call.fixed("weight") is not None and len(call.shape) > 1),
    **{name: Translation(_product, _are_matrices) for name in ("matmul", "mm", "bmm")},
    **{
        name: Translation(_added_product, lambda call: call["beta"] == 1 == call["alpha"])
        for name in ("addmm", "baddbmm")
    },
    "scaled_dot_product_attention": Translation(_attention, _is_plain_attention),
}
