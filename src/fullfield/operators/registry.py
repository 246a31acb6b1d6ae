"""The records of all operators, and how one is found."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.graph.calls import target_name
from fullfield.operators import (
    conv,
    custom,
    norms,
    padding,
    pointwise,
    pools,
    products,
    recurrent,
    reductions,
    resizing,
    views,
)
from fullfield.operators.record import Operator

FAMILIES = (conv, pools, padding, resizing, views, pointwise, norms, reductions, products, recurrent, custom)
_BY_TARGET: dict[Any, Operator] = {}
_BY_NAME: dict[str, Operator] = {}


def register(record: Operator) -> None:
    """Adds the record of an operator, or replaces it."""
    _BY_TARGET.update(dict.fromkeys(record.targets, record))
    _BY_NAME.update({target_name(target): record for target in record.targets if not hasattr(target, "_overloadname")})


for family in FAMILIES:
    for record in family.RECORDS:
        register(record)


def find(target: Any) -> Operator | None:
    """The record of what a node calls: of the overload, else of the operator with all its overloads."""
    found = _BY_TARGET.get(target)
    return found or _BY_TARGET.get(getattr(target, "_overloadpacket", None))


def record_of(node: Node) -> Operator:
    """The record of a node's operator; an empty one if it has none."""
    return find(node.target) or Operator((node.target,))


def named(name: str) -> Operator | None:
    """The record of an operator with all its overloads, by its short name."""
    return _BY_NAME.get(name)


def is_pointwise(target: Any) -> bool:
    """Whether an operator computes every number of its result from one of each tensor that it reads."""
    record = find(target)
    return torch.Tag.pointwise in getattr(target, "tags", ()) or (record is not None and record.kind == "pointwise")
