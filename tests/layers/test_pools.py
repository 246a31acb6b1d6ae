"""Pools: their formulas, their fit, their gradients at zero, and inside networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fullfield
from fullfield.errors import GeometryError
from fullfield.layers import AvgPool2d, FeatureL2Pool, L2Pool2d, MaxPool2d
from tests.layers.networks import error_of_context, error_of_scan, network, operators

LAYERS = {
    "max": lambda: MaxPool2d(3, 2, padding=1, must_fit=False),
    "average": lambda: AvgPool2d(2),
    "l2": lambda: L2Pool2d(2),
    "l2 padded": lambda: L2Pool2d(3, (2, 1), padding=1, must_fit=False),
    "l2 mean": lambda: L2Pool2d((2, 4), mean=True),
    "features": lambda: FeatureL2Pool(2),
    "features overlapping": lambda: FeatureL2Pool(3, 1),
    "features in groups": lambda: FeatureL2Pool(2, 1, groups=2),
    "features whole": lambda: FeatureL2Pool(),
}


def by_hand(x: torch.Tensor, kernel: int, stride: int, padding: int) -> torch.Tensor:
    padded = F.pad(x, [padding] * 4)
    return padded.unfold(2, kernel, stride).unfold(3, kernel, stride).pow(2).sum((-1, -2)).sqrt()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (5, 3, 2)])
def test_l2_is_the_root_of_the_sum_of_squares(kernel: int, stride: int, padding: int) -> None:
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    pool = L2Pool2d(kernel, stride, padding=padding, must_fit=False)
    wanted = by_hand(x, kernel, stride, padding)
    assert (pool(x) - wanted).abs().max() <= 1e-13
    mean = L2Pool2d(kernel, stride, padding=padding, mean=True, must_fit=False)
    assert (mean(x) * kernel - wanted).abs().max() <= 1e-13


@pytest.mark.parametrize(("width", "stride", "groups"), [(2, 2, 1), (3, 1, 1), (4, 2, 2), (None, None, 1), (2, 1, 3)])
def test_feature_pools_are_the_root_of_the_sum_over_neighbouring_maps(
    width: int | None, stride: int | None, groups: int
) -> None:
    x = torch.randn(2, 12, 3, 4, dtype=torch.float64)
    each = 12 // groups
    taken, step = width or each, stride or width or each
    wanted = [
        x[:, g * each + start : g * each + start + taken].pow(2).sum(1).sqrt()
        for g in range(groups)
        for start in range(0, each - taken + 1, step)
    ]
    pool = FeatureL2Pool(width, stride, groups=groups)
    assert (pool(x) - torch.stack(wanted, 1)).abs().max() <= 1e-13


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_right(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LAYERS[name](), (x,))


@pytest.mark.parametrize("name", ["l2", "l2 padded", "l2 mean", "features in groups"])
def test_second_derivatives_are_right(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(LAYERS[name](), (x,))


@pytest.mark.parametrize("layer", [L2Pool2d(2), FeatureL2Pool(2), L2Pool2d(2, mean=True)])
def test_the_gradient_of_nothing_is_nothing(layer: nn.Module) -> None:
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_a_converted_pool_has_no_infinite_gradient_either() -> None:
    module = fullfield.convert(network(L2Pool2d(2)))
    image = torch.full((1, 3, 16, 16), 0.0, dtype=torch.float64)
    for parameter in module.parameters():
        parameter.data.zero_()
    module(image).sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters())


def test_pools_learn_nothing() -> None:
    assert [sum(p.numel() for p in make().parameters()) for make in LAYERS.values()] == [0] * len(LAYERS)


def test_geometry_is_told_as_f_and_s() -> None:
    pool = L2Pool2d((3, 2), 2)
    assert (pool.F, pool.S) == ((3, 2), (2, 2))
    assert (MaxPool2d(3).F, MaxPool2d(3).S) == ((3, 3), (3, 3))
    assert (FeatureL2Pool(3, 2).F, FeatureL2Pool(3, 2).S) == (3, 2)


@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d, L2Pool2d])
def test_a_map_that_does_not_fit_is_refused_with_the_arithmetic(kind: type) -> None:
    pool = kind(3, 3)
    assert not pool.fits((9, 7))
    with pytest.raises(GeometryError, match=r"does not fit 7 cells along x: \(7 - 3\) / 3 leaves 1"):
        pool(torch.zeros(1, 1, 9, 7))
    assert pool.fits(9)
    assert pool(torch.zeros(1, 1, 9, 9)).shape == (1, 1, 3, 3)
    assert kind(3, 3, must_fit=False)(torch.zeros(1, 1, 9, 7)).shape == (1, 1, 3, 2)
    with pytest.raises(GeometryError, match="spans 3 cells, more than the 2"):
        pool(torch.zeros(1, 1, 9, 2))


def test_padding_enters_the_arithmetic() -> None:
    with pytest.raises(GeometryError, match=r"\(8 \+ 2 - 3\) / 2 leaves 1"):
        MaxPool2d(3, 2, padding=1).check(8)
    with pytest.raises(GeometryError, match=r"\(8 \+ 2 - 3\) / 2 lacks 1"):
        MaxPool2d(3, 2, padding=1, ceil_mode=True).check(8)
    with pytest.raises(GeometryError, match="more than half"):
        L2Pool2d(3, padding=2)


@pytest.mark.parametrize(
    ("layer", "maps", "words"),
    [
        (FeatureL2Pool(3, 2), 6, r"\(6 - 3\) / 2 leaves 1"),
        (FeatureL2Pool(3), 2, "width 3 is more than 2 maps"),
        (FeatureL2Pool(2, groups=4), 6, "6 maps in 4 groups"),
    ],
)
def test_maps_that_do_not_fit_are_refused(layer: FeatureL2Pool, maps: int, words: str) -> None:
    assert not layer.fits(maps)
    with pytest.raises(GeometryError, match=words):
        layer(torch.zeros(1, maps, 2, 2))


def test_maps_left_over_are_dropped_on_request() -> None:
    assert FeatureL2Pool(3, 2, must_fit=False)(torch.zeros(1, 6, 2, 2)).shape[1] == 2
    assert FeatureL2Pool(3, 2).fits(7)


@pytest.mark.parametrize("name", LAYERS)
def test_scans_equal_the_crops_and_the_converted_network(name: str) -> None:
    net = network(LAYERS[name]())
    assert error_of_scan(net, 3) <= 1e-9
    assert error_of_context(net) <= 1e-9


@pytest.mark.parametrize(("name", "node"), [("l2", "l2_pool2d"), ("features", "feature_l2_pool")])
def test_it_stays_one_node_and_inspect_names_it(name: str, node: str) -> None:
    net = network(LAYERS[name]())
    assert operators(net)[:4] == ["conv2d", "relu", node, "conv2d"]
    rows = [r for r in fullfield.inspect(net).rows if r.type == node]
    assert rows
    assert sum(r.parameters for r in rows) == 0
    assert all(r.shared for r in rows)


@pytest.mark.parametrize(("name", "node"), [("l2 padded", "LpPool"), ("l2 mean", "LpPool"), ("features", "Sqrt")])
def test_onnx_carries_it_there_and_back(name: str, node: str, tmp_path: Path) -> None:
    net = network(LAYERS[name]()).to(torch.float32)
    path = fullfield.save(net, tmp_path / "pool.onnx")
    assert node in [n.op_type for n in onnx.load(path).graph.node]
    x = torch.randn(3, 3, 16, 16)
    wanted = net(x).detach()
    found = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})[0]
    assert np.abs(found - wanted.numpy()).max() <= 1e-5
    assert (fullfield.load(path)(x) - wanted).abs().max() <= 1e-5
