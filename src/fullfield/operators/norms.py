"""Norms and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from fullfield.graph.calls import bind
from fullfield.operators.emitter import Emitter
from fullfield.operators.record import Operator
from fullfield.operators.work import per_number

aten = torch.ops.aten
_STORED = per_number(multiplies=1, adds=1)  # a scale and a shift, both known before the image comes
_MEASURED = per_number(multiplies=3, adds=4)  # mean, variance (a subtraction and a square), scale, weight and bias


def _softmax_is_independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """Along another dimension than the windows'."""
    dim = bind(node)["dim"]
    return isinstance(dim, int) and dim % values[node].dim() != 0


def _group_norm(to: Emitter, args: dict[str, Any], cells: tuple[int, ...]) -> Any:
    """On channels first: with channels last torch takes the variance as a difference of squares in float32."""
    return to.call(aten.group_norm.default, to.call(aten.contiguous.default, args["input"]), *list(args.values())[1:])


RECORDS = (
    Operator(
        (aten.batch_norm,),
        counts=_STORED,
        new_memory=True,
        independent=lambda node, values: bind(node)["training"] is False,
    ),
    Operator((aten._native_batch_norm_legit_no_training,), counts=_STORED, independent="first", title="batch_norm"),
    Operator((aten.layer_norm,), counts=_MEASURED, independent="first"),
    Operator((aten.native_layer_norm,), counts=_MEASURED, independent="first", title="layer_norm"),
    Operator((aten.group_norm,), counts=_MEASURED, independent="first", on_windows=_group_norm),
    Operator((aten.instance_norm,), counts=_MEASURED, independent="first"),
    Operator((aten.native_group_norm,), independent="first"),
    Operator((aten.rms_norm,), counts=per_number(multiplies=3, adds=1), independent="first"),
    # the largest for safety, its subtraction, exp, the sum, the division
    Operator(
        (aten.softmax, aten._softmax),
        counts=per_number(comparisons=1, adds=2, functions=1, divisions=1),
        independent=_softmax_is_independent,
    ),
    Operator(
        (aten.log_softmax, aten._log_softmax),
        counts=per_number(comparisons=1, adds=3, functions=1),
        independent=_softmax_is_independent,
    ),
    Operator((aten.glu,), independent="first"),
)
