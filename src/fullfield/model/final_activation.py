"""Finds the activation that a network ends in, so that it is not applied to the scores again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fullfield.graph.calls import bind
from fullfield.graph.shapes import propagate
from fullfield.operators.registry import find

aten = torch.ops.aten
FinalActivation = Literal["softmax", "sigmoid", "log_softmax", "log_sigmoid"]

_OVER_CLASSES: dict[Any, FinalActivation] = {
    aten.softmax.int: "softmax",
    aten._softmax.default: "softmax",
    aten.special_softmax.default: "softmax",
    aten.log_softmax.int: "log_softmax",
    aten._log_softmax.default: "log_softmax",
    aten.special_log_softmax.default: "log_softmax",
}
_POINTWISE: dict[Any, FinalActivation] = {
    aten.sigmoid.default: "sigmoid",
    aten.special_expit.default: "sigmoid",
    aten.log_sigmoid.default: "log_sigmoid",
}
_JOINS = (aten.cat.default, aten.concat.default, aten.stack.default)


def final_activation(graph: GraphModule, window: tuple[int, ...]) -> FinalActivation | None:
    """The activation that a network's scores went through last; ``None`` if none is known.

    Operators after it may only move numbers. Softmax counts where it runs over all classes of a window, a join where
    all that it joins went through the same pointwise activation.

    Args:
        graph: of the network. Shape: ``(n, c, h, w)`` -> ``(n, k)``
        window: ``(c, h, w)``.
    """
    (scores,) = graph.graph.output_node().all_input_nodes[:1] or (None,)
    shapes = _Shapes(graph, window)
    return None if scores is None else _before(scores, shapes)


class _Shapes:
    """The shapes of a graph's values for one window, found when they are first needed."""

    def __init__(self, graph: GraphModule, window: tuple[int, ...]) -> None:
        self._find: Callable[[], Mapping[Node, Any]] = lambda: propagate(graph, (1, *window), _dtype(graph))
        self._known: Mapping[Node, Any] | None = None

    def __getitem__(self, node: Node) -> tuple[int, ...]:
        if self._known is None:
            self._known = self._find()
        value = self._known[node]
        return tuple(value.shape) if isinstance(value, Tensor) else ()


def _dtype(graph: GraphModule) -> torch.dtype:
    return next((t.dtype for t in graph.state_dict().values() if t.is_floating_point()), torch.float32)


def _before(node: Node, shapes: _Shapes) -> FinalActivation | None:
    """The activation of a value, looked for through operators that only move its numbers."""
    while node.op == "call_function":
        if node.target in _POINTWISE:
            return _POINTWISE[node.target]
        if node.target in _OVER_CLASSES:
            shape = shapes[node]
            whole = shape[bind(node)["dim"]] == torch.Size(shape).numel()
            return _OVER_CLASSES[node.target] if whole else None
        record = find(node.target)
        sources = node.all_input_nodes
        if node.target in _JOINS:
            found = {_before(source, shapes) for source in sources}
            same = found.pop() if len(found) == 1 else None
            return same if same in _POINTWISE.values() else None
        if record is None or record.movement is None or not sources:
            return None
        node = sources[0]
    return None
