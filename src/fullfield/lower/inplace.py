"""Lets operators overwrite what they read, where no other node reads it: less memory, and less of it moved.

For inference alone: what is overwritten is not there for the backward pass.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Graph, GraphModule, Node

from fullfield.operators.record import Operator
from fullfield.operators.registry import find

SAME_SHAPE = "same_shape"  # in a node's ``meta``: whether all tensors that it reads have its own shape and type
NEW_MEMORY = "new_memory"  # whether an operator without a record returns memory of its own


def reuse(graph: Graph) -> None:
    """Replaces operators by those that write in place, where they read values that were made for them alone.

    Args:
        graph: of a program; changed in place. Operators of two tensors are replaced only where ``SAME_SHAPE`` is set.
    """
    new: set[Node] = set()  # memory of its own, of which no other node reads a view
    for node in graph.nodes:
        record = find(node.target)
        if node.meta.get(NEW_MEMORY):
            new.add(node)
        if record is None:
            continue
        if _may_overwrite(node, record) and (operands := _sole_user(node, record, new)) is not None:
            node.args, node.target = operands, record.in_place
        if record.new_memory:
            new.add(node)


def overwriting(module: GraphModule) -> GraphModule:
    """A part of a program with operators that write in place; changed in place."""
    reuse(module.graph)
    module.recompile()
    return module


def _may_overwrite(node: Node, record: Operator) -> bool:
    """Whether the operator has an overload that writes in place for the arguments of a node."""
    overload = getattr(node.target, "_overloadname", None)
    if record.in_place is None or record.in_place._overloadname != overload:
        return False
    return not record.commutes or bool(node.meta.get(SAME_SHAPE) and not node.kwargs and len(node.args) == 2)


def _sole_user(node: Node, record: Operator, new: set[Node]) -> tuple[Any, ...] | None:
    """The node's arguments with one first that is new memory and only this node reads; ``None`` if none is."""
    first, *rest = node.args

    def own(value: Any) -> bool:
        return value in new and set(value.users) == {node}

    if not record.commutes:
        return node.args if own(first) else None
    (second,) = rest
    if first is second:
        return None
    return (first, second) if own(first) else (second, first) if own(second) else None
