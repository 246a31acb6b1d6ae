"""Operators that do nothing at evaluation: dropout, copies, changes of memory layout. Casts stay."""

from __future__ import annotations

from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import cast
from fullfield.canonical.values import Mapped

aten = torch.ops.aten


def remove(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """The input itself, or every cell of it as another number type.

    Exact: yes
    """
    if args.get("train"):
        return Refusal("drops activations at random; load the network in evaluation mode")
    value = context.first
    if not isinstance(value, Mapped):
        return Refusal("casts values that do not come from the image to its type")
    return cast(context, value, context.node.args[0], context.result.dtype)


RULES = dict.fromkeys(
    (
        aten.dropout.default,
        aten.feature_dropout.default,
        aten.alpha_dropout.default,
        aten.clone.default,
        aten.contiguous.default,
        aten.alias.default,
        aten.detach.default,
        aten.lift_fresh_copy.default,
        aten._to_copy.default,
        aten.to.dtype,
        aten.to.dtype_layout,
        aten.type_as.default,
    ),
    remove,
)
