"""Turns the canonical graph into integers, which the planner reads without torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.form import ACTIVE_KINDS, Canonical
from fullfield.geometry.axis import Op
from fullfield.geometry.network import IDENTITY, Network, NodeSpec, Scratch
from fullfield.graph.calls import bind
from fullfield.graph.shapes import propagate
from fullfield.operators.counting import whole_macs
from fullfield.operators.record import Operator
from fullfield.operators.registry import find, named


def network(net: Canonical, dtype: torch.dtype) -> Network:
    """Every node that depends on the image, as integers; the last one gives the scores."""
    values = propagate(net.graph, (1, net.channels, *net.window), dtype)
    active = {n for n in net.graph.graph.nodes if n.meta["kind"] in ACTIVE_KINDS}
    counts: dict[Hashable, int] = {}
    specs = [_spec(node, values, active, counts, dtype) for node in net.graph.graph.nodes if node in active]
    result = net.graph.graph.output_node().args[0]
    assert isinstance(result, Node)
    order = [s for s in specs if s.name != result.name] + [s for s in specs if s.name == result.name]
    return Network(tuple(order), net.window, needs_batch_of_one=any(node.meta.get("joins") for node in active))


def _spec(
    node: Node, values: Mapping[Node, Any], active: set[Node], counts: dict[Hashable, int], dtype: torch.dtype
) -> NodeSpec:
    kind = {"pointwise": "cell", "per_cell": "cell"}.get(node.meta["kind"], node.meta["kind"])
    value = values[node]
    shape = (
        tuple(value.shape)[1:] if isinstance(value, torch.Tensor) else (sum(v.numel() for v in value if v is not None),)
    )
    cells_first = "cells_at" in node.meta
    if cells_first:
        cells = node.meta["cells_at"]
        shape = (*(size for i, size in enumerate(shape) if i not in cells), *(shape[i] for i in cells))
    record = find(node.target)
    ops, counts_padding, macs, memory = IDENTITY, False, 0, {}
    if record is not None and kind in ("windowed", "cell"):
        args = bind(node)
        shapes = {name: tuple(values[n].shape) for name, n in args.items() if _is_tensor(n, values)}
        if kind == "windowed":
            assert record.windowed is not None
            ops, counts_padding = record.windowed.geometry(args, shapes), record.windowed.counts_padding(args)
        taps = record.macs(shapes) if record.macs is not None else 0
        macs = taps * math.prod(shape[:-2])
        memory = _memory(node, record, kind, ops, taps)
    elif kind == "whole":
        macs = whole_macs(node, values, counts)
    inputs = tuple(dict.fromkeys(n.name for n in node.all_input_nodes if n in active))
    wide = -(-value.itemsize // dtype.itemsize) if isinstance(value, torch.Tensor) else 1
    path, op, reason = node.meta["path"], node.meta["op"], node.meta.get("reason", "")
    cells = {"cells_first": cells_first, "counts_padding": counts_padding}
    return NodeSpec(node.name, path, op, kind, inputs, ops, shape, macs, reason, wide, **cells, **memory)


def _is_tensor(value: Any, values: Mapping[Node, Any]) -> bool:
    return isinstance(value, Node) and isinstance(values[value], torch.Tensor)


def _memory(node: Node, record: Operator, kind: str, ops: tuple[Op, Op], taps: int) -> dict[str, Any]:
    """The fields of a node's spec that tell the planner about memory.

    Of an operator that a rule put in the place of the network's own, the planner counts neither indices, which a pool
    over the whole map has few of, nor on its writing in place: at worst its estimate is a little high.
    """
    if kind == "windowed":
        assert record.windowed is not None
        scratch, new = record.windowed.scratch(ops, taps), True
    else:
        scratch, new = Scratch(), record.new_memory
    if named(node.meta["op"]) is not record:
        return {"scratch": replace(scratch, index_bytes=0), "new_memory": kind == "windowed"}
    overwrites = 0 if record.in_place is None else 2 if record.commutes else 1
    return {"scratch": scratch, "overwrites": overwrites, "new_memory": new}
