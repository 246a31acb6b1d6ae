"""Shapes of a graph's values: what is known without running an operator is what running it gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn import functional as F

from fullfield.graph import shapes
from fullfield.jobs.prepare import prepare
from fullfield.model.torch_export import capture_module
from tests.architectures import build


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


def seen(values: dict[Node, Any]) -> dict[str, object]:
    """Shape and type of every value."""
    return {
        node.name: (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else value
        for node, value in values.items()
        if node.op != "output"
    }


@pytest.mark.parametrize("name", ["alexnet", "densenet", "lenet5", "mobilenetv2", "resnet18", "vgg"])
def test_rules_give_the_shapes_and_types_that_torch_gives(name: str) -> None:
    module, window = build(name)
    net = capture_module(module, window=window)
    prepared = prepare(net).canonical.graph
    for graph in (net.graph, prepared):
        found = shapes.propagate_by_rules(graph, (2, 3, window, window), torch.float32)
        assert found is not None
        torch_gives = shapes._by_torch(graph, (2, 3, window, window), torch.float32)
        assert seen(found) == seen(torch_gives)
        assert all(value.device.type == "meta" for value in found.values() if isinstance(value, Tensor))


def test_one_operator_without_a_rule_leaves_the_graph_to_torch() -> None:
    graph = capture_module(Normed(), window=9).graph
    assert shapes.propagate_by_rules(graph, (7, 3, 9, 9), torch.float32) is None  # it compares and counts
    values = shapes.propagate(graph, (7, 3, 9, 9), torch.float32)
    assert seen(values)[graph.graph.output_node().args[0].name] == ((7, 5), torch.float32)  # type: ignore[union-attr]


def test_sizes_that_do_not_fit_are_left_to_torch_which_says_so() -> None:
    graph = capture_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 49, 5)), window=9).graph
    assert shapes.propagate_by_rules(graph, (7, 3, 9, 9), torch.float32) is not None
    assert shapes.propagate_by_rules(graph, (7, 3, 10, 9), torch.float32) is None
    with pytest.raises(RuntimeError, match="224"):
        shapes.propagate(graph, (7, 3, 10, 9), torch.float32)
