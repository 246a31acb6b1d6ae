"""Graphs of modules: names of parameters that a graph module needs for itself, tensors made in ``forward``."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fullfield
from fullfield.model.torch_export import capture_module

NAMES = ["code", "graph", "meta", "recompile", "print_readable", "_graph", "_code", "shape_env", "add_submodule"]


class Named(nn.Module):
    """A network with parameters, buffers and layers of given names."""

    def __init__(self, parameters: list[str], buffers: list[str], layers: list[str]) -> None:
        super().__init__()
        self.names = list(zip(parameters, buffers, layers, strict=True))
        for parameter, buffer, layer in self.names:
            self.register_parameter(parameter, nn.Parameter(torch.randn(4, 3, 3, 3)))
            self.register_buffer(buffer, torch.randn(4))
            self.add_module(layer, nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        triples = ([getattr(self, name) for name in names] for names in self.names)
        return sum(layer(nn.functional.conv2d(x, weight, bias).relu().amax((2, 3))) for weight, bias, layer in triples)


@pytest.mark.parametrize("first", [0, 3, 6])
def test_names_that_a_graph_module_needs_are_free_for_tensors_and_layers(first: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    turned = NAMES[first:] + NAMES[:first]  # each name is a parameter's once, a buffer's and a layer's
    module = Named(turned[:3], turned[3:6], turned[6:]).double().eval()
    net = capture_module(module, window=7)
    windows = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    assert torch.equal(net(windows), module(windows))
    assert {p.data_ptr() for p in net.graph.parameters()} == {p.data_ptr() for p in module.parameters()}
    assert torch.equal(copy.deepcopy(net).to(torch.float64)(windows), module(windows))
    assert fullfield.verify(net, np.random.default_rng(0).random((12, 15, 3)), step=2).verdict == "EXACT"
    saved = fullfield.load(fullfield.save(net, tmp_path / "net.onnx"))
    torch.testing.assert_close(saved(windows), module(windows), rtol=0, atol=1e-12)
    torch.testing.assert_close(fullfield.convert(net)(windows).flatten(1), module(windows), rtol=0, atol=1e-12)


def test_a_reserved_name_and_its_substitute_may_both_be_taken() -> None:
    module = Named(["code"], ["code_"], ["graph"]).eval()
    windows = torch.randn(2, 3, 7, 7)
    assert torch.equal(capture_module(module, window=7)(windows), module(windows))


def test_code_that_names_a_device_does_not_keep_a_network_there_or_in_its_type() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.to(self.head.weight.device)
            return self.head(x.mean((2, 3)))

    module = Placed().eval()
    net = capture_module(module, window=7)
    windows = torch.randn(2, 3, 7, 7)
    assert torch.equal(net(windows), module(windows))
    assert not any(isinstance(value, torch.device) for n in net.graph.graph.nodes for value in n.args)
    assert net.in_type(torch.float64)(windows.double()).dtype == torch.float64


def test_tensors_made_in_forward_are_kept() -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code = nn.Parameter(torch.randn(1, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.code).amax((2, 3)) + torch.tensor([1.0, 2.0, 3.0])

    module, windows = Made().eval(), torch.randn(2, 3, 5, 5)
    assert torch.equal(capture_module(module, window=5)(windows), module(windows))
