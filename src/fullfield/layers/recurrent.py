"""Recurrent layers as operators whose shapes are known at once.

torch finds the shapes of its own by running every step of the sequence, in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph

from fullfield.layers.registry import register

aten = torch.ops.aten

_SETTINGS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_OF_ONE_STATE = f"(Tensor input, Tensor hx, Tensor[] params, {_SETTINGS}) -> (Tensor, Tensor)"
_OF_TWO_STATES = f"(Tensor input, Tensor[] hx, Tensor[] params, {_SETTINGS}) -> (Tensor, Tensor, Tensor)"


def without_numbers(
    input: Tensor, hx: Tensor | Sequence[Tensor], params: Sequence[Tensor], *settings: Any
) -> tuple[Tensor, ...]:
    """Tensors without numbers, with the shapes and strides of a layer's output and last states."""
    *_, bidirectional, batch_first = settings
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    directions = 2 if bidirectional else 1
    n, steps = input.shape[:2] if batch_first else (input.shape[1], input.shape[0])
    output = input.new_empty(steps, n, directions * states[0].shape[2])
    last = (input.new_empty(state.shape) for state in states)
    return (output.transpose(0, 1) if batch_first else output, *last)


def fits(gates: int, input: Tensor, hx: Tensor | Sequence[Tensor], params: Sequence[Tensor], *settings: Any) -> bool:
    """Whether a layer's states and weights have the shapes that its input and settings ask for, without projection.

    Args:
        gates: of a cell: 4 of an LSTM, 3 of a GRU, 1 of a layer without gates.
    """
    has_biases, layers, _, _, bidirectional, batch_first = settings
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    if input.dim() != 3 or not input.numel() or any(state.dim() != 3 for state in states):
        return False
    directions, hidden = 2 if bidirectional else 1, states[0].shape[2]
    n = input.shape[0 if batch_first else 1]
    rows = (gates * hidden,)
    expected = []
    for layer in range(layers):
        read = directions * hidden if layer else input.shape[2]
        expected += [(*rows, read), (*rows, hidden), *((rows, rows) if has_biases else ())] * directions
    shapes = [tuple(state.shape) for state in states]
    return shapes == [(layers * directions, n, hidden)] * len(states) and [tuple(w.shape) for w in params] == expected


def multiply_adds(input: Tensor, params: Sequence[Tensor]) -> int:
    """Multiply-adds of a layer: every number of its matrices, for every step of every sequence."""
    return input.shape[0] * input.shape[1] * sum(weight.numel() for weight in params if weight.dim() == 2)


def _of_windows(operator: OpOverload, info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
    """Under ``torch.vmap``: the windows become part of the layer's own batch."""
    input, hx, params, *settings = args
    own = 0 if settings[-1] else 1

    def joined(x: Tensor, windows: int | None, axis: int) -> Tensor:
        whole = x.unsqueeze(axis) if windows is None else x.movedim(windows, axis)
        shape = list(whole.shape)
        shape[axis] = info.batch_size
        return whole.expand(shape).flatten(axis, axis + 1)

    state = joined(hx, in_dims[1], 1) if isinstance(hx, Tensor) else list(map(joined, hx, in_dims[1], [1, 1]))
    output, *last = operator(joined(input, in_dims[0], own), state, params, *settings)
    apart = [output.unflatten(own, (info.batch_size, -1)), *(x.unflatten(1, (info.batch_size, -1)) for x in last)]
    return tuple(apart), (own, *(1 for _ in last))


def _register(name: str, schema: str, of_torch: OpOverload) -> OpOverload:
    operator: OpOverload = register(name, schema, of_torch, fake=without_numbers).default
    torch.library.register_vmap(f"fullfield::{name}", partial(_of_windows, operator))
    return operator


def with_torch_operators(graph: Graph) -> None:
    """Replaces the operators of recurrent layers by torch's, of the same arguments and results.

    Exact: yes
    """
    for of_torch, ours in OF_OPERATORS.items():
        for node in graph.find_nodes(op="call_function", target=ours):
            node.target = of_torch


_LSTM = _register("lstm", _OF_TWO_STATES, aten.lstm.input)
_GRU = _register("gru", _OF_ONE_STATE, aten.gru.input)
_RNN_TANH = _register("rnn_tanh", _OF_ONE_STATE, aten.rnn_tanh.input)
_RNN_RELU = _register("rnn_relu", _OF_ONE_STATE, aten.rnn_relu.input)

GATES: Mapping[OpOverload, int] = MappingProxyType(
    {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}
)
"""Gates of a cell, by torch's operator."""

OF_FUNCTIONS: Mapping[Callable[..., Any], OpOverload] = MappingProxyType(
    {torch.lstm: _LSTM, torch.gru: _GRU, torch.rnn_tanh: _RNN_TANH, torch.rnn_relu: _RNN_RELU}
)
"""The operator of the same arguments and results, by torch's function."""

OF_OPERATORS: Mapping[OpOverload, OpOverload] = MappingProxyType(
    {
        aten.lstm.input: _LSTM,
        aten.gru.input: _GRU,
        aten.rnn_tanh.input: _RNN_TANH,
        aten.rnn_relu.input: _RNN_RELU,
    }
)
"""The same, by torch's operator."""
