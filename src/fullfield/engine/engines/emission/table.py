"""The table of ATen operators that engines run, and how a part of a program is written with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from fullfield.engine.engines.emission import convolutions, pointwise, pools, products, reductions, views
from fullfield.engine.engines.emission.call import OperatorCall, Translation
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter
from fullfield.engine.engines.split import Part
from fullfield.graph.calls import op_name

TABLE: Mapping[str, Translation] = {
    **convolutions.TABLE,
    **pools.TABLE,
    **pointwise.TABLE,
    **products.TABLE,
    **reductions.TABLE,
    **views.TABLE,
}
TO_CELLS_LAST, TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def supports(node: Node, values: Mapping[Node, Any], constants: Mapping[Node, Tensor]) -> bool:
    """Whether the table has a node's operator for its arguments, and all its tensors hold float32 numbers."""
    entry = TABLE.get(op_name(node))
    if entry is None or not hasattr(node.target, "_schema"):
        return False
    tensors = [values[node], *(values[n] for n in node.all_input_nodes if n not in constants)]
    flat = [t for value in tensors for t in (value if isinstance(value, (tuple, list)) else [value])]
    known = all(isinstance(t, Tensor) and t.dtype == torch.float32 and t.numel() for t in flat)
    return known and entry.when(OperatorCall(node, values, constants))


def write(part: Part, values: Mapping[Node, Any], constants: Mapping[Node, Tensor], to: GraphWriter) -> None:
    """Writes a part: its inputs, its operators, and its outputs in their order.

    Maps go in and out channels last: ``(n, c, y, x)`` as ``(n, y, x, c)``.
    """
    written = Written(to, values)
    summands = _summands(part, values)
    for node in part.inputs:
        written.take(node, to.parameter(memory_shape(values[node].shape)))
        if node in summands:
            written.maps[node] = to.summand(written.maps[node], values[node].shape[1])
    in_rows = _in_rows(part, values, constants) if to.prefers_rows else set()
    for node in part.nodes:
        if op_name(node) == "getitem":
            source, index = node.args
            written.maps[node] = written[source][index]  # type: ignore[index]
            continue
        forms = RowsOf(written) if node in in_rows else written
        call = OperatorCall(node, values, constants, forms)
        (written.rows if node in in_rows else written.maps)[node] = TABLE[op_name(node)].write(to, call)
    for node in part.outputs:
        to.result(written.give(node), memory_shape(values[node].shape))


class Written(Mapping[Node, GraphValue]):
    """The values of a part: as they are, and maps also as rows of channels ``(cells, channels)``.

    Each form is made from the other when it is asked for.

    Args:
        to: the graph.
        values: what every node gives, as fake tensors.
    """

    def __init__(self, to: GraphWriter, values: Mapping[Node, Any]) -> None:
        self.to, self._shapes = to, values
        self.maps: dict[Node, GraphValue] = {}
        self.rows: dict[Node, GraphValue] = {}

    def __getitem__(self, node: Node) -> GraphValue:
        if node not in self.maps:
            cells_last = self.to.reshape(self.rows[node], memory_shape(self._shapes[node].shape))
            self.maps[node] = self.to.transpose(cells_last, TO_CHANNELS_FIRST)
        return self.maps[node]

    def __contains__(self, node: object) -> bool:
        return node in self.maps or node in self.rows

    def __iter__(self) -> Iterator[Node]:
        return iter({**self.maps, **self.rows})

    def __len__(self) -> int:
        return len({**self.maps, **self.rows})

    def take(self, node: Node, value: GraphValue) -> None:
        """Takes an input, as it goes in."""
        is_map = self._shapes[node].dim() == 4
        self.maps[node] = self.to.transpose(value, TO_CHANNELS_FIRST) if is_map else value

    def give(self, node: Node) -> GraphValue:
        """An output, as it goes out."""
        shape = memory_shape(self._shapes[node].shape)
        if node in self.rows:
            return self.to.reshape(self.rows[node], shape)
        return self.to.transpose(self.maps[node], TO_CELLS_LAST) if len(shape) == 4 else self.maps[node]

    def as_rows(self, node: Node) -> GraphValue:
        """A map as rows."""
        if node not in self.rows:
            cells_last = self.to.transpose(self.maps[node], TO_CELLS_LAST)
            *cells, channels = memory_shape(self._shapes[node].shape)
            self.rows[node] = self.to.reshape(cells_last, (math.prod(cells), channels))
        return self.rows[node]


class RowsOf(Mapping[Node, GraphValue]):
    """The same values, maps as rows."""

    def __init__(self, written: Written) -> None:
        self.written = written

    def __getitem__(self, node: Node) -> GraphValue:
        return self.written.as_rows(node)

    def __contains__(self, node: object) -> bool:
        return node in self.written

    def __iter__(self) -> Iterator[Node]:
        return iter(self.written)

    def __len__(self) -> int:
        return len(self.written)


_OF_TWO = frozenset(("add", "sub", "mul", "div", "maximum", "minimum"))


def _in_rows(part: Part, values: Mapping[Node, Any], constants: Mapping[Node, Tensor]) -> set[Node]:
    """Operators of two maps of one shape, and those of one map after them, whose results leave the part.

    OpenVINO merges a sum with a convolution and writes it over the other map; it cannot bring that into the memory
    order of the outputs without moving it twice.
    """
    last: set[Node] = set(part.outputs)
    for node in reversed(part.nodes):  # what leads to outputs by operators of one map
        if any(
            user in last and len(user.all_input_nodes) == 1 and op_name(user) in pointwise.TABLE for user in node.users
        ):
            last.add(node)
    found: set[Node] = set()
    for node in part.nodes:
        if node not in last or op_name(node) not in pointwise.TABLE or values[node].dim() != 4:
            continue
        maps = [n for n in node.all_input_nodes if n not in constants]
        alike = all(values[n].shape == values[node].shape for n in maps) and len(maps) == len(node.all_input_nodes)
        if alike and (any(n in found for n in maps) if len(maps) == 1 else op_name(node) in _OF_TWO):
            found.add(node)
    return found


def _summands(part: Part, values: Mapping[Node, Any]) -> set[Node]:
    """The maps among a part's inputs that it adds to maps of its own of the same shape."""
    own, found = set(part.nodes), set()
    for node in part.nodes:
        if op_name(node) != "add" or values[node].dim() != 4:
            continue
        maps = set(node.all_input_nodes)
        if maps & own and all(values[n].shape == values[node].shape for n in maps):
            found |= maps - own
    return found & set(part.inputs)


def memory_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a value goes in and out: maps channels last."""
    return tuple(shape[d] for d in TO_CELLS_LAST) if len(shape) == 4 else tuple(shape)
