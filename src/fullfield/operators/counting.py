"""Operations of the nodes of a canonical graph on one window."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch.fx import Node
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from fullfield.graph.calls import bind
from fullfield.graph.shape_rules import is_frequent, multiply_adds
from fullfield.graph.shapes import signature
from fullfield.operators.registry import find
from fullfield.operators.work import Work

aten = torch.ops.aten

# Attention on a CPU: torch 2.13 has its operator, but no formula for it, and would count nothing.
for name in ("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_backward"):
    on_cpu = getattr(aten, name.replace("attention", "attention_for_cpu"))
    if on_cpu not in flop_registry:
        register_flop_formula(on_cpu, get_raw=True)(flop_registry[getattr(aten, name)])


def whole_macs(node: Node, values: Mapping[Node, Any], known: dict[Hashable, int]) -> int:
    """Multiply-adds of any operator on one window, as torch's counter has them.

    Args:
        values: what every node gives, as fake tensors.
        known: counts of calls of equal signature, which are made once; this one is added.
    """
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
    if is_frequent(node.target):
        return multiply_adds(node.target, args, values[node])
    key = signature((node.target, args, kwargs))
    if key not in known:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            node.target(*args, **kwargs)  # type: ignore[operator]
        known[key] = int(counter.get_total_flops()) // 2
    return known[key]


def operations(node: Node, values: Mapping[Node, Any], macs: int) -> Work | None:
    """Operations of one node; ``None`` for an operator of which they are not known.

    Taps in padding count as taps: a pool with kernel F compares F*F - 1 times at every cell.

    Args:
        values: tensors of every node for one window; only their shapes count.
        macs: its multiply-adds, counted elsewhere.
    """
    record = find(node.target)
    if macs or node.op == "placeholder" or (record is not None and record.movement):
        return Work(macs=macs)
    written = _numbers(values[node])
    if record is not None and record.counts is not None:
        return record.counts(bind(node), _numbers(values[node.all_input_nodes[0]]), written)
    return Work(functions=written) if torch.Tag.pointwise in getattr(node.target, "tags", ()) else None


def _numbers(value: Any) -> int:
    """Numbers in a tensor, or in the first of several."""
    first = value[0] if isinstance(value, (tuple, list)) else value
    return first.numel() if isinstance(first, torch.Tensor) else 0
