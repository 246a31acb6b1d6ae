"""One file a family of operators; each rule rewrites one operator into canonical form or says why not."""

from __future__ import annotations

from typing import Any

from fullfield.canonical.context import Rule
from fullfield.canonical.rules import (
    channels,
    conv,
    einsum,
    layers,
    linear,
    norms,
    padding,
    pointwise,
    pools,
    reductions,
    removed,
    unchanged,
    upsampling,
    views,
)
from fullfield.operators.registry import find as find_record
from fullfield.operators.registry import is_pointwise

FAMILIES = (removed, conv, pools, reductions, linear, einsum, norms, views, channels, padding, upsampling, layers)
REGISTRY: dict[Any, Rule] = {op: rule for family in FAMILIES for op, rule in family.RULES.items()}

UNCHANGED: dict[str, Rule] = {
    "pointwise": pointwise.pointwise,
    "per_cell": unchanged.per_cell,
    "windowed": unchanged.windowed,
}


def find(target: Any) -> Rule | None:
    """The rule of an operator: its own, else that of the kind in its record, else none."""
    if target in REGISTRY:
        return REGISTRY[target]
    if is_pointwise(target):
        return pointwise.pointwise
    record = find_record(target)
    return None if record is None or record.kind is None else UNCHANGED[record.kind]
