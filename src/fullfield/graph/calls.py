"""Reads the operator that a node of a graph calls, and its arguments."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_aggregate

T = TypeVar("T")


def bind(node: Node) -> dict[str, Any]:
    """The node's arguments by the names of its operator's schema and in its order, defaults filled in."""
    return bound(node.target, node.args, node.kwargs)


def bound(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call as ``bind`` gives those of a node."""
    names, defaults = _arguments(target)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


@functools.lru_cache(1024)
def _arguments(target: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of an operator's arguments, and their defaults, in order; none where it has no schema."""
    arguments = getattr(getattr(target, "_schema", None), "arguments", ())
    return tuple(a.name for a in arguments), {a.name: a.default_value for a in arguments}


def op_name(node: Node) -> str:
    """The operator's short name: ``conv2d``, ``relu``."""
    return target_name(node.target)


def target_name(target: Any) -> str:
    """The short name of an operator, whatever the overload."""
    packet = getattr(target, "_overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def held_tensor(module: nn.Module, target: object) -> Tensor:
    """The parameter or buffer of a dotted name, the ``target`` of a ``get_attr`` node."""
    holder, _, leaf = str(target).rpartition(".")
    found = getattr(module.get_submodule(holder), leaf)
    assert isinstance(found, Tensor)
    return found


def pair(value: Any) -> list[int]:
    """Numbers along y and x, as operators take them: an integer, one in a list, or two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def leaves(value: Any, *kinds: type[T]) -> list[T]:
    """All objects of some kinds in nested sequences and mappings, in order.

    Examples:
        >>> leaves([1, ("a", {"b": 2.5}), None], int, float)
        [1, 2.5]
    """
    found: list[T] = []

    def collect(leaf: Any) -> None:
        if isinstance(leaf, kinds):
            found.append(leaf)

    map_aggregate(value, collect)
    return found
