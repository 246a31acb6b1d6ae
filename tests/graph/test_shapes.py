"""Shapes of a graph's values: what is known without running an operator is what running it gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional as F

from fullfield.graph import shapes
from fullfield.model.torch_export import capture_module


class Normed(nn.Module):
    """Norms and activations of maps in order, permuted, in channels-last order, of halves and of logical numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.tokens = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.conv(x)))
        rows = self.tokens(F.gelu(y.flatten(2).transpose(1, 2)).transpose(1, 2).half().to(y.dtype))
        last = F.relu(self.norm(y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)))
        strided = F.hardswish(y[:, :, ::2]) + F.relu((y > 0).int())[:, :, ::2]
        return self.head(rows.mean(2) + last.mean((2, 3)) + strided.mean((2, 3)))


def seen(graph: GraphModule) -> dict[Node, object]:
    """Shape, strides and type of every value."""
    return {
        node: shapes.signature(value) for node, value in shapes.propagate(graph, (7, 3, 9, 9), torch.float32).items()
    }


def test_shapes_types_and_strides_are_those_of_running_every_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = capture_module(Normed(), window=9).graph
    short = seen(graph)
    monkeypatch.setattr(shapes, "_LIKE_FIRST", frozenset())
    assert seen(graph) == short


def test_an_operator_wrongly_taken_for_one_that_keeps_its_shape_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = capture_module(Normed(), window=9).graph
    right = seen(graph)
    monkeypatch.setattr(shapes, "_LIKE_FIRST", frozenset([torch.ops.aten.linear.default]))
    assert seen(graph) != right
