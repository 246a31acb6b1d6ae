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
    upsampling,
    views,
)
from fullfield.operators.registry import find as find_record
from fullfield.operators.registry import is_pointwise

FAMILIES = (removed, conv, pools, reductions, linear, einsum, norms, views, channels, padding, upsampling, layers)
REGISTRY: dict[Any, Rule] = {op: rule for family in FAMILIES for op, rule in family.RULES.items()}


def find(target: Any) -> Rule | None:
    """The rule for an operator: its own, else that of all pointwise or all per-cell operators, else none."""
    if target in REGISTRY:
        return REGISTRY[target]
    if is_pointwise(target):
        return pointwise.pointwise
    record = find_record(target)
    return channels.per_cell if record is not None and record.kind == "per_cell" else None
