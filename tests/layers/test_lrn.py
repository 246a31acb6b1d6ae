"""Local response normalisation: both regions against their formulas, torch's layer, ONNX's node; in networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fullfield
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.axis import Op
from fullfield.layers import LocallyConnected2d, LocalResponseNorm2d
from fullfield.model.save import export_onnx
from tests.layers.networks import error_of_context, error_of_scan, network, operators

REGIONS = ("across", "within")
NODES = {"across": "local_response_norm", "within": "local_response_norm_within"}
TYPES = {"across": "local_response_norm", "within": "lrn_within_map"}  # in reports


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_across_has_torch_s_numbers(size: int) -> None:
    x = torch.randn(2, 7, 3, 4)
    wanted = nn.LocalResponseNorm(size, alpha=0.3, beta=0.75, k=2.0)(x)
    assert torch.equal(LocalResponseNorm2d(size, alpha=0.3, beta=0.75, k=2.0)(x), wanted)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_within_is_the_formula_of_cuda_convnet_and_caffe(size: int) -> None:
    """Cells from ``y - size // 2``, ``size`` of them, clipped at the edge; the divisor is not clipped."""
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    found = LocalResponseNorm2d(size, alpha=0.5, beta=0.75, region="within")(x)
    for i in range(5):
        for j in range(6):
            top, left = i - size // 2, j - size // 2
            near = x[:, :, max(0, top) : top + size, max(0, left) : left + size]
            scale = 1 + 0.5 / size**2 * near.pow(2).sum((-1, -2))
            assert (found[:, :, i, j] - x[:, :, i, j] / scale**0.75).abs().max() <= 1e-14


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [2, 3])
def test_gradients_are_right(size: int, region: str) -> None:
    torch.manual_seed(0)
    layer = LocalResponseNorm2d(size, alpha=0.7, beta=0.6, k=1.5, region=region)
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [4, 5])
def test_it_stays_one_node_and_scans_exactly(size: int, region: str) -> None:
    net = network(LocalResponseNorm2d(size, alpha=2.0, region=region))
    assert operators(net)[:4] == ["conv2d", "relu", NODES[region], "conv2d"]
    assert error_of_scan(net, 3) <= 1e-9
    assert error_of_context(net) <= 1e-9


@pytest.mark.parametrize("region", REGIONS)
def test_inspect_names_it(region: str) -> None:
    rows = fullfield.inspect(network(LocalResponseNorm2d(5, region=region))).rows
    (row,) = [r for r in rows if r.type == TYPES[region]]
    assert row.shared
    assert row.ops == (Op(1) if region == "across" else Op(5, 1, 2, 2),) * 2


def test_inspect_shows_the_neighbourhood_behind_unshared_weights_too() -> None:
    unshared = nn.Sequential(LocallyConnected2d(6, 6, 16, 3, padding=1), LocalResponseNorm2d(4, region="within"))
    rows = {r.type: r for r in fullfield.inspect(network(unshared)).rows}
    assert rows["locally_connected2d"].ops == (Op(3, 1, 1, 1),) * 2
    assert rows["lrn_within_map"].ops == (Op(4, 1, 2, 1),) * 2


def test_within_a_map_the_neighbourhood_enters_the_receptive_field() -> None:
    def size(region: str) -> int:
        rows = fullfield.inspect(network(LocalResponseNorm2d(5, region=region))).rows
        axes = [r.axes for r in rows if r.type == TYPES[region]][-1]
        assert axes is not None
        return axes[0].size

    assert (size("across"), size("within")) == (3, 7)


@pytest.mark.parametrize(
    ("size", "region", "node"), [(5, "across", "LRN"), (4, "across", "Pow"), (5, "within", "AveragePool")]
)
def test_onnx_carries_it_there_and_back(size: int, region: str, node: str, tmp_path: Path) -> None:
    net = network(LocalResponseNorm2d(size, alpha=2.0, k=1.5, region=region)).to(torch.float32)
    path = fullfield.save(net, tmp_path / "norm.onnx")
    names = [n.op_type for n in onnx.load(path).graph.node]
    assert node in names
    assert ("LRN" in names) == (node == "LRN")
    x = torch.randn(3, 3, 16, 16)
    wanted = net(x).detach()
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert np.abs(found - wanted.numpy()).max() <= 1e-5
    assert (fullfield.load(path)(x) - wanted).abs().max() <= 1e-5


def test_a_converted_network_keeps_the_node_in_onnx(tmp_path: Path) -> None:
    module = fullfield.convert(network(LocalResponseNorm2d(5, alpha=2.0)).to(torch.float32))
    path = export_onnx(module, (3, 16, 16), tmp_path / "fcn.onnx")
    assert [n.op_type for n in onnx.load(path).graph.node].count("LRN") == 1
    x = torch.randn(1, 3, 29, 24)
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert np.abs(found - module(x).detach().numpy()).max() <= 1e-5


def test_unknown_regions_and_divisors_that_vanish_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="'around' is not known"):
        LocalResponseNorm2d(5, region="around")
    with pytest.raises(GeometryError, match="not positive"):
        LocalResponseNorm2d(5, k=0)
    with pytest.raises(GeometryError, match="size: 0"):
        LocalResponseNorm2d(0)
