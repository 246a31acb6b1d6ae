"""Linear layers, matrix products and attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from fullfield.graph.shapes import window_dims
from fullfield.operators.record import Operator

aten = torch.ops.aten


def _product_is_independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """The windows lie neither along the last dimension of the first factor nor along the last but one of the second."""
    first, second = (values[n] for n in node.all_input_nodes[-2:])  # after what is added
    if window_dims(first) and window_dims(second):
        return bool(first.dim() == second.dim() > 2)
    return bool(first.dim() > 1 if window_dims(first) else second.dim() > 2)


def _attention_is_independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """As for a product; queries, keys and values have their windows along the same dimension."""
    return all(values[n].dim() == values[node].dim() > 2 for n in node.all_input_nodes[:3])


def _einsum_is_independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """The windows come first, under one letter, in all tensors that hold windows and in the result."""
    equation = str(node.args[0]).replace(" ", "")
    reads, _, gives = equation.partition("->")
    letters = {r[:1] for r, n in zip(reads.split(","), node.all_input_nodes, strict=False) if window_dims(values[n])}
    return len(letters) == 1 and gives[:1] in letters and gives[:1].isalpha()


RECORDS = (
    Operator((aten.linear,), new_memory=True, independent="first"),
    Operator((aten.matmul, aten.mm, aten.bmm, aten.addmm, aten.baddbmm), independent=_product_is_independent),
    Operator((aten.scaled_dot_product_attention,), independent=_attention_is_independent, title="attention"),
    Operator((aten.einsum,), independent=_einsum_is_independent),
)
