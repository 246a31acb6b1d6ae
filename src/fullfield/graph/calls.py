"""Reads the operator that a node of a graph calls, and its arguments."""

from __future__ import annotations

from typing import Any

from torch.fx import Node


def bind(node: Node) -> dict[str, Any]:
    """The node's arguments by the names of its operator's schema and in its order, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    given = dict(zip([a.name for a in schema.arguments], node.args, strict=False)) | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value) for a in schema.arguments}


def op_name(node: Node) -> str:
    """The operator's short name: ``conv2d``, ``relu``."""
    return target_name(node.target)


def target_name(target: Any) -> str:
    """The short name of an operator, whatever the overload."""
    packet = getattr(target, "_overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def pair(value: Any) -> list[int]:
    """Numbers along y and x, as operators take them: an integer, one in a list, or two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers
