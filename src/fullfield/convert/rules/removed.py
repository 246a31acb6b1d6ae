"""Operators that do nothing at evaluation: dropout, copies, changes of memory layout."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Rewriter

aten = torch.ops.aten


def remove(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """The input itself.

    Exact: yes
    """
    if args.get("train"):
        return Refusal("drops activations at random; capture the network in evaluation mode")
    value = rewriter.value(node.args[0])
    assert isinstance(value, Mapped)
    before = rewriter.shapes[node.args[0]] if isinstance(node.args[0], Node) else None
    if before is not None and before.dtype != rewriter.shapes[node].dtype:
        return Refusal("changes the number type inside the network")
    return value


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
