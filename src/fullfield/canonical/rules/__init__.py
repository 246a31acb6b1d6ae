"""One file a family of operators; each rule rewrites one operator into canonical form or says why not."""

from __future__ import annotations

from typing import Any

import torch

from fullfield.canonical.rewriter import Rule
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

FAMILIES = (removed, conv, pools, reductions, linear, einsum, norms, views, channels, padding, upsampling, layers)
REGISTRY: dict[Any, Rule] = {op: rule for family in FAMILIES for op, rule in family.RULES.items()}


def find(target: Any) -> Rule | None:
    """The rule for an operator: its own entry, else the one for every pointwise operator, else none."""
    if target in REGISTRY:
        return REGISTRY[target]
    if torch.Tag.pointwise in getattr(target, "tags", ()) or target in pointwise.UNTAGGED:
        return pointwise.pointwise
    return None
