"""Recurrent layers: LSTM, GRU and those without gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from fullfield.graph.calls import bind
from fullfield.graph.shapes import window_dims
from fullfield.operators.record import Anywhere, Operator

aten = torch.ops.aten


def _takes_windows_as_its_batch(node: Node, values: Mapping[Node, Any]) -> bool:
    """The windows lie along the layer's own batch: not along its steps, and not in its weights."""
    given = bind(node)
    batch = 0 if given["batch_first"] else 1
    states = [given["hx"]] if isinstance(given["hx"], Node) else given["hx"]
    output, *last = values[node]
    return (
        window_dims(values[given["input"]]) == window_dims(output) == [batch]
        and all(window_dims(state) == [1] for state in (*last, *(values[state] for state in states)))
        and not any(window_dims(values[weight]) for weight in given["params"])
    )


RECORDS = (
    Operator(
        (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input),
        independent=Anywhere(_takes_windows_as_its_batch),
    ),
)
