"""Computes the turns of a ``Scan`` at once, where none reads the result of another.

The body is mapped for one turn, and what it emits is emitted again on all turns, which are one more axis in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_aggregate

from fullfield.errors import CaptureError
from fullfield.graph.calls import leaves
from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder, Emitted
from fullfield.importers.onnx.registry import Body
from fullfield.importers.onnx.values import Known, OnnxValue, Traced
from fullfield.operators.registry import is_pointwise

aten = torch.ops.aten

_KINDS: tuple[type[OnnxValue], ...] = (Known, Traced)
_ALONG_AXES = frozenset({
    aten.amax.default, aten.amin.default, aten.logsumexp.default, aten.mean.dim, aten.prod.dim_int,
    aten.softmax.int, aten.squeeze.dims, aten.sum.dim_IntList, aten.unsqueeze.default,
})  # fmt: skip
"""Operators on one tensor along the axes that their second argument names."""
_NUMBER_BY_NUMBER = frozenset({aten.to.dtype})
_BY_CHANNEL = frozenset({aten.prelu.default})
"""Operators that are tagged pointwise, and whose second argument has one number for each place of the second axis."""


def at_once(
    b: AtenBuilder, body: Body, states: Sequence[OnnxValue], parts: Sequence[OnnxValue]
) -> tuple[OnnxValue, ...] | None:
    """The states and the results of all turns; ``None`` where turns cannot be computed together.

    They can where no turn changes a state and all operators are pointwise or along axes.

    Exact: yes | sums in another order
    Shape: parts ``(turns, ...)`` -> results ``(turns, ...)``
    """
    turn = [b.stand_in((x.tensors[0][0], x.tensors[1][0])) for x in parts]
    try:
        with b.noting() as emitted:
            results = body((*states, *turn))
        if any(after is not before for before, after in zip(states, results, strict=False)):
            return None
        whole: dict[Node, OnnxValue] = {one.node: x for one, x in zip(turn, parts, strict=True)}
        for each in emitted:
            if not whole.keys().isdisjoint(each.node.all_input_nodes):
                whole[each.node] = _on_all_turns(b, each, whole)
    except (CaptureError, LayerRefused):
        return None
    found = [whole.get(x.node) if isinstance(x, Traced) else None for x in results[len(states) :]]
    known = [x for x in found if x is not None]
    return (*states, *known) if len(known) == len(found) else None


def _after_the_first(axis: Any) -> Any:
    """An axis where there is one more in front; a negative one counts from the last."""
    return axis + 1 if axis >= 0 else axis


def _on_all_turns(b: AtenBuilder, one: Emitted, whole: dict[Node, OnnxValue]) -> OnnxValue:
    """A node that was emitted for one turn, on all.

    Raises:
        LayerRefused: its operator is neither pointwise nor along axes.
    """
    args = one.args
    rank = max(len(value.shapes[0]) for value in leaves((args, one.kwargs), *_KINDS))
    if one.target in _ALONG_AXES and len(args) > 1 and args[1] not in (None, []):
        args = (args[0], map_aggregate(args[1], _after_the_first), *args[2:])
    elif one.target in _BY_CHANNEL or not (one.target in _NUMBER_BY_NUMBER or is_pointwise(one.target)):
        raise LayerRefused("is neither pointwise nor along axes")

    def on_all(leaf: Any) -> Any:
        if not isinstance(leaf, Traced) or leaf.node not in whole:
            return leaf
        x = whole[leaf.node]
        for _ in range(rank - len(leaf.shapes[0])):
            x = b.call(aten.unsqueeze.default, x, 1)
        return x

    args, kwargs = map_aggregate((args, one.kwargs), on_all)
    return b.call(one.target, *args, **kwargs)
