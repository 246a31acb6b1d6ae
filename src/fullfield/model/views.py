"""Views in an exported graph: whose memory each shares, and what a tensor is after a view of it was overwritten."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from fullfield.graph.calls import bind

aten = torch.ops.aten


@dataclass(frozen=True)
class TensorView:
    """How a value is taken from another one.

    Args:
        base: the value that it is a view of.
        made: a call that makes such a view, of ``source``; a part of a list is made by its ``getitem``.
    """

    base: Node
    made: Node
    source: Node

    def of(self, graph: Graph, base: Node) -> Node:
        """The same view of another value, at the graph's insertion point."""
        if self.made.target is operator.getitem:
            parts = graph.node_copy(_maker(self.made), lambda read: base if read is self.source else read)
            return graph.node_copy(self.made, lambda _: parts)
        return graph.node_copy(self.made, lambda read: base if read is self.source else read)


def view_of(node: Node) -> TensorView | None:
    """How a value is a view of one that it is computed from, as the exported values' storages tell; None if it is none.

    A list of views is none; its parts are.
    """
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return None
    memory = storage(node)
    source = next((read for read in _maker(node).all_input_nodes if storage(read) == memory), None)
    return None if source is None else TensorView(source, node, source)


def storage(node: Node) -> int | None:
    """The identity of the memory that a value lies in; None if it is no tensor."""
    value = node.meta.get("val")
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


def overwritten(graph: Graph, view: TensorView, base: Node, new: Node) -> Node | None:
    """What ``base`` is after its view was overwritten with ``new``; None for views without a rule."""
    made = view.made
    if made.target is operator.getitem:
        return _with_part(graph, made, base, new)
    rule = _RULES.get(made.target)
    return None if rule is None else rule(graph, bind(made), base, new)


def _maker(node: Node) -> Node:
    """The call that computes a value: of one that is picked from a list, the list's."""
    if node.target is operator.getitem:
        assert isinstance(node.args[0], Node)
        return node.args[0]
    return node


def _with_part(graph: Graph, made: Node, base: Node, new: Node) -> Node | None:
    """``base`` with one of the parts overwritten that it was split into."""
    maker, index = _maker(made), made.args[1]
    assert isinstance(index, int)
    parts, dim = maker.meta["val"], bind(maker).get("dim", 0)
    index %= len(parts)
    if maker.target is aten.unbind.int:
        return _with_one(graph, base, new, dim, index)
    ends = [0, *itertools.accumulate(part.shape[dim] for part in parts)]
    if maker.target not in _SPLITS or not all(isinstance(end, int) for end in ends):
        return None
    return graph.call_function(aten.slice_scatter.default, (base, new, dim, ends[index], ends[index + 1]))


def _with_one(graph: Graph, base: Node, new: Node, dim: int, index: int) -> Node:
    """``base`` with one row overwritten; as a slice, since these are shared between windows where rows are channels."""
    row = graph.call_function(aten.unsqueeze.default, (new, dim % base.meta["val"].dim()))
    return graph.call_function(aten.slice_scatter.default, (base, row, dim, index, index + 1 or sys.maxsize))


def _with_slice(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    start, end, step = given["start"], given["end"], given["step"]
    ends = (0 if start is None else start, sys.maxsize if end is None else end)
    if (*ends, step) == (0, sys.maxsize, 1):
        return _same(graph, given, base, new)
    return graph.call_function(aten.slice_scatter.default, (base, new, given["dim"], *ends, step))


def _with_diagonal(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    options = (given["offset"], given["dim1"], given["dim2"])
    return graph.call_function(aten.diagonal_scatter.default, (base, new, *options))


def _permuted_back(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    dims = [dim % len(given["dims"]) for dim in given["dims"]]
    return graph.call_function(aten.permute.default, (new, [dims.index(dim) for dim in range(len(dims))]))


def _transposed(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    _, *dims = given.values()
    return graph.call_function(aten.transpose.int, (new, *dims))


def _reshaped(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    return graph.call_function(aten.reshape_as.default, (new, base))


def _same(graph: Graph, given: Mapping[str, Any], base: Node, new: Node) -> Node:
    return graph.call_function(aten.alias.default, (new,))


_Rule = Callable[[Graph, Mapping[str, Any], Node, Node], Node]

_SPLITS = frozenset((aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default))
_SHAPES = (
    *(
        aten.view.default,
        aten.reshape.default,
        aten._unsafe_view.default,
        aten.view_as.default,
        aten.reshape_as.default,
    ),
    *(aten.flatten.using_ints, aten.unflatten.int, aten.unsqueeze.default),
    *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims),
)
_COPIES = (
    *(aten.alias.default, aten.detach.default, aten.contiguous.default, aten.to.dtype, aten.to.dtype_layout),
    *(aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.type_as.default),
)
_RULES: dict[Any, _Rule] = {
    aten.slice.Tensor: _with_slice,
    aten.select.int: lambda graph, given, base, new: _with_one(graph, base, new, given["dim"], given["index"]),
    aten.diagonal.default: _with_diagonal,
    aten.permute.default: _permuted_back,
    **dict.fromkeys((aten.transpose.int, aten.swapaxes.default, aten.swapdims.default), _transposed),
    **dict.fromkeys(_SHAPES, _reshaped),
    **dict.fromkeys(_COPIES, _same),
}
