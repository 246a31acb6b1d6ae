"""Finds the shape and type of every value in a graph without computing it."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Interpreter, Node

aten = torch.ops.aten
PROBE_BATCH = 7919  # a prime that no channel count or map size hits: it marks the batch in a shape

# Frequent operators whose result has the shape, the type and the memory order of a contiguous first argument.
_LIKE_FIRST = frozenset(
    (aten.batch_norm.default, aten.relu.default, aten.silu.default, aten.gelu.default, aten.hardswish.default)
)


class _Recorder(Interpreter):
    """Runs a graph and records every value; calls of equal signature run once, since deep networks repeat layers."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.values: dict[Node, Any] = {}
        self.known: dict[Hashable, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in _LIKE_FIRST and not kwargs and args[0].is_contiguous() and args[0].is_floating_point():
            return args[0]
        key = signature((target, args, kwargs))
        if key not in self.known:
            self.known[key] = super().call_function(target, args, kwargs)
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
    """The value of every node for an input of ``shape``: fake tensors (shape and type, no data), integers, tuples."""
    weights = itertools.chain(module.parameters(), module.buffers())
    device = next((t.device for t in weights), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        recorder = _Recorder(module)
        recorder.run(mode.from_tensor(torch.empty(1, dtype=dtype, device=device)).expand(shape))
    return recorder.values
