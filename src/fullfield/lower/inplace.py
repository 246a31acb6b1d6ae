"""Operators that write over what they read, where no one else reads it: less memory, and less of it moved.

For inference alone: what is overwritten is not there for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
_ONE = {
    aten.relu.default: aten.relu_.default,
    aten.relu6.default: aten.relu6_.default,
    aten.hardtanh.default: aten.hardtanh_.default,
    aten.leaky_relu.default: aten.leaky_relu_.default,
    aten.elu.default: aten.elu_.default,
    aten.silu.default: aten.silu_.default,
    aten.gelu.default: aten.gelu_.default,
    aten.mish.default: aten.mish_.default,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.tanh.default: aten.tanh_.default,
    aten.hardswish.default: aten.hardswish_.default,
    aten.hardsigmoid.default: aten.hardsigmoid_.default,
}
_TWO = {aten.add.Tensor: aten.add_.Tensor, aten.mul.Tensor: aten.mul_.Tensor}
ALIKE = "alike"  # in a node's ``meta``: all tensors that it reads have its own shape and type
_NEW = {
    *_ONE, *_ONE.values(), *_TWO, *_TWO.values(), aten.conv2d.default, aten.linear.default, aten.max_pool2d.default,
    aten.avg_pool2d.default, aten.batch_norm.default, aten.cat.default, aten.constant_pad_nd.default,
    operators.fft_conv2d,
}  # fmt: skip


def reuse(graph: Graph) -> None:
    """Lets operators overwrite values that were made for them alone.

    Args:
        graph: of a program; changed in place. Operators of two tensors are only touched where ``ALIKE`` is set.
    """
    for node in graph.nodes:
        if node.target in _ONE and _own(node, node.args[0]):
            node.target = _ONE[node.target]
        elif node.target in _TWO and node.meta.get(ALIKE) and not node.kwargs and len(node.args) == 2:
            first, second = node.args
            if first is second:
                continue
            if _own(node, first):
                node.target = _TWO[node.target]
            elif _own(node, second):
                node.args = (second, first)
                node.target = _TWO[node.target]


def _own(node: Node, value: Any) -> bool:
    """Whether a value is new memory that only this node reads."""
    return isinstance(value, Node) and value.target in _NEW and set(value.users) == {node}
