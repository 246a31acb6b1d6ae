"""Finds the shape and type of every value in a graph without computing it.

``shape_rules`` knows what frequent operators give. A graph with any other is run by torch on fake tensors.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_arg

from fullfield.graph.attributes import attribute_of
from fullfield.graph.shape_rules import known_result
from fullfield.layers.recurrent import OF_OPERATORS

PROBE_BATCH = 7919  # a prime that no channel count or map size hits: it marks the batch in a shape


class _Recorder(Interpreter):
    """Runs a graph and records every value; calls of equal signature run once, since deep networks repeat layers.

    Recurrent layers run as operators that do not go through the steps of the sequence.
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.values: dict[Node, Any] = {}
        self.known: dict[Hashable, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        key = signature((target, args, kwargs))
        if key not in self.known:
            self.known[key] = super().call_function(OF_OPERATORS.get(target, target), args, kwargs)
        return self.known[key]


def signature(value: Any) -> Hashable:
    """Everything that shapes and types can depend on: equal for tensors of one shape, strides, type and device."""
    if isinstance(value, torch.Tensor):
        return "tensor", tuple(value.shape), value.stride(), value.dtype, value.device
    if isinstance(value, (tuple, list)):
        return "several", *map(signature, value)
    if isinstance(value, dict):
        return "named", *((name, signature(item)) for name, item in value.items())
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    return type(value), value


def window_dims(tensor: torch.Tensor) -> list[int]:
    """The dimensions of a tensor for ``PROBE_BATCH`` windows along which the windows lie."""
    return [d for d, n in enumerate(tensor.shape) if n and n % PROBE_BATCH == 0]


def propagate(module: GraphModule, shape: tuple[int, ...], dtype: torch.dtype) -> dict[Node, Any]:
    """The value of every node for an input of ``shape``: tensors without data, integers, tuples.

    Their shapes and types are those of the values; their devices need not be.
    """
    return propagate_by_rules(module, shape, dtype) or _by_torch(module, shape, dtype)


def propagate_by_rules(module: GraphModule, shape: tuple[int, ...], dtype: torch.dtype) -> dict[Node, Any] | None:
    """As ``propagate``, where all operators are frequent ones whose arguments fit; else ``None``."""
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = torch.empty(shape, dtype=dtype, device="meta")
        elif node.op == "get_attr":
            values[node] = attribute_of(module, str(node.target)).detach().to("meta")
        else:
            args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
            try:
                values[node] = args[0] if node.op == "output" else known_result(node.target, args, kwargs)
            except RuntimeError:  # torch says more about what does not fit
                return None
        if values[node] is None:
            return None
    return values


def _by_torch(module: GraphModule, shape: tuple[int, ...], dtype: torch.dtype) -> dict[Node, Any]:
    """The values, as fake tensors."""
    weights = itertools.chain(module.parameters(), module.buffers())
    device = next((t.device for t in weights), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        recorder = _Recorder(module)
        recorder.run(mode.from_tensor(torch.empty(1, dtype=dtype, device=device)).expand(shape))
    return recorder.values
