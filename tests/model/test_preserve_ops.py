"""torch's response normalisations and L2 pools stay one node: captured, inspected, exported, read back."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fullfield
from fullfield.geometry.axis import Op
from fullfield.model.model import Model
from tests.layers.networks import error_of_scan, network, operators

KEPT = {
    "odd LRN": (nn.LocalResponseNorm(5, alpha=0.5, k=2.0), "local_response_norm"),
    "even LRN": (nn.LocalResponseNorm(4, alpha=0.5), "local_response_norm"),
    "L2 pool": (nn.LPPool2d(2, 3, 2), "l2_pool2d"),
    "L2 pool, no stride": (nn.LPPool2d(2.0, (2, 4)), "l2_pool2d"),
    "L2 pool, ceil, fits": (nn.LPPool2d(2, 2, 2, ceil_mode=True), "l2_pool2d"),
}


def plain(net: Model, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """torch's own export of ``network(layer)``."""
    nodes = [n for n in net.graph.graph.nodes if n.op == "get_attr"]
    weights = [getattr_path(net.graph, str(n.target)).double() for n in nodes]
    x = layer(F.relu(F.conv2d(x, weights[0], weights[1], padding=1)))
    x = F.adaptive_avg_pool2d(F.conv2d(x, weights[2], weights[3], padding=1), 2).flatten(1)
    return F.linear(x, weights[4], weights[5])


def getattr_path(module: nn.Module, path: str) -> torch.Tensor:
    """The tensor of that dotted name."""
    return module.state_dict()[path]


@pytest.mark.parametrize(("layer", "node"), KEPT.values(), ids=KEPT)
def test_it_is_one_node_with_the_same_numbers(layer: nn.Module, node: str) -> None:
    net = network(layer)
    assert operators(net)[:4] == ["conv2d", "relu", node, "conv2d"]
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(net(x), plain(net, layer, x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("layer", "node"), KEPT.values(), ids=KEPT)
def test_it_is_one_row_with_kernel_and_work(layer: nn.Module, node: str) -> None:
    report = fullfield.inspect(network(layer))
    (row,) = [row for row in report.rows if row.type == node]
    assert row.shared
    assert row.work.functions == row.work.divisions / (2 if "norm" in node else 1) > 0
    assert not report.uncounted
    if isinstance(layer, nn.LPPool2d):
        kernel, stride = layer.kernel_size, layer.stride or layer.kernel_size
        y, x = (kernel, kernel) if isinstance(kernel, int) else kernel
        steps = (stride, stride) if isinstance(stride, int) else stride
        assert row.ops == (Op(y, steps[0]), Op(x, steps[1]))


@pytest.mark.parametrize("layer", [nn.LocalResponseNorm(4, alpha=0.5), nn.LPPool2d(2, 3, 2)])
def test_scans_are_exact(layer: nn.Module) -> None:
    assert error_of_scan(network(layer), 2) <= 1e-9


def test_functions_and_subclasses_count_too() -> None:
    class Norm(nn.LocalResponseNorm):
        """A subclass that adds nothing."""

    class Called(nn.Module):
        """The functions, called."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.lp_pool2d(F.local_response_norm(x, 3), 2, 2)

    assert "local_response_norm" in operators(network(Norm(5)))
    assert operators(network(Called()))[2:4] == ["local_response_norm", "l2_pool2d"]


@pytest.mark.parametrize("layer", [nn.LPPool2d(3, 2), nn.LPPool2d(2, 3, 2, ceil_mode=True)], ids=["cubes", "overhang"])
def test_layers_that_no_single_operator_computes_are_exported_by_torch(layer: nn.Module) -> None:
    net = network(layer)
    assert "l2_pool2d" not in operators(net)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(net(x), plain(net, layer, x), rtol=0, atol=1e-14)


def test_capture_leaves_torch_as_it_was() -> None:
    network(nn.LocalResponseNorm(5))
    again = torch.export.export(nn.LocalResponseNorm(5), (torch.zeros(2, 4, 3, 3),))
    assert "local_response_norm" not in str(again.graph).replace("aten", "")


@pytest.mark.parametrize(
    ("layer", "node"), [(nn.LocalResponseNorm(5, alpha=0.5, k=2.0), "LRN"), (nn.LPPool2d(2, 2), "LpPool")]
)
def test_onnx_has_one_node_that_comes_back_as_one(layer: nn.Module, node: str, tmp_path: Path) -> None:
    net = network(layer).to(torch.float32)
    path = fullfield.save(net, tmp_path / "net.onnx")
    assert [n.op_type for n in onnx.load(path).graph.node].count(node) == 1
    back = fullfield.load(path)
    assert operators(back)[2] == operators(net)[2]
    x = torch.randn(3, 3, 16, 16)
    wanted = net(x).detach()
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert (torch.from_numpy(found) - wanted).abs().max() <= 1e-5
    assert (back(x) - wanted).abs().max() <= 1e-5
