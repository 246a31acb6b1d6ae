"""Unshared weights: against one linear layer for each position, against a convolution, against jax; in a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fullfield
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.layers import LocallyConnected2d, local_contraction
from tests.layers.networks import error_of_scan, network, operators

OPTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "dilation": (2, 1), "padding": 1, "groups": 2},
    {"kernel_size": (7, 6), "bias": False},
]


def layer(options: dict[str, Any], channels: tuple[int, int] = (4, 6)) -> LocallyConnected2d:
    torch.manual_seed(1)
    return LocallyConnected2d(*channels, (7, 6), **options).double()


@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_one_linear_layer_a_position(options: dict[str, Any]) -> None:
    local = layer({**options, "groups": 1})
    x = torch.randn(3, 4, 7, 6, dtype=torch.float64)
    found = local(x)
    y, z = local.padding
    padded = nn.functional.pad(x, (z, z, y, y))
    for i in range(local.output_size[0]):
        for j in range(local.output_size[1]):
            rows = [i * local.stride[0] + a * local.dilation[0] for a in range(local.kernel_size[0])]
            columns = [j * local.stride[1] + b * local.dilation[1] for b in range(local.kernel_size[1])]
            linear = nn.Linear(4 * len(rows) * len(columns), 6, bias=local.bias is not None).double()
            with torch.no_grad():
                linear.weight.copy_(local.weight[i, j].flatten(1))
                if local.bias is not None:
                    linear.bias.copy_(local.bias[:, i, j])
            wanted = linear(padded[:, :, rows][..., columns].flatten(1))
            assert (found[:, :, i, j] - wanted).abs().max() <= 1e-12


@pytest.mark.parametrize("cap", [1, 2**26])
@pytest.mark.parametrize("options", OPTIONS)
def test_its_gradients_are_right_in_bands_of_any_height(
    options: dict[str, Any], cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_contraction, "CAP_BYTES", cap)
    local = layer(options, (2, 4))
    x = torch.randn(2, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    bias = [] if local.bias is None else [local.bias]

    def run(x: torch.Tensor, weight: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        numbers = (local.stride, local.padding, local.dilation, local.groups)
        return torch.ops.fullfield.locally_connected2d(x, weight, bias[0] if bias else None, *numbers)

    assert torch.autograd.gradcheck(run, (x, local.weight, *bias))


def test_only_the_gradients_asked_for_are_computed() -> None:
    local = layer(OPTIONS[0])
    local.weight.requires_grad_(False)
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    local(x).sum().backward()
    assert x.grad is not None
    assert local.weight.grad is None


def test_it_takes_views_that_are_not_contiguous() -> None:
    local = layer(OPTIONS[1])
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    turned = x.to(memory_format=torch.channels_last)
    assert torch.equal(local(turned), local(x))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_convolution_becomes_one_and_comes_back(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **options).double()
    local = LocallyConnected2d.from_conv(conv, (7, 6))
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    assert (local(x) - conv(x)).abs().max() <= 1e-12
    back = local.to_conv()
    assert torch.equal(back.weight, conv.weight)
    assert torch.equal(back(x), conv(x))


def test_same_padding_becomes_numbers() -> None:
    conv = nn.Conv2d(2, 2, 3, padding="same")
    assert LocallyConnected2d.from_conv(conv, 5).padding == (1, 1)
    with pytest.raises(UnsupportedError, match="one side more"):
        LocallyConnected2d.from_conv(nn.Conv2d(2, 2, 4, padding="same"), 8)
    with pytest.raises(UnsupportedError, match="reflect"):
        LocallyConnected2d.from_conv(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), 8)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weights_that_differ_make_no_convolution_unless_averaged(name: str) -> None:
    conv = nn.Conv2d(4, 6, 3).double()
    local = LocallyConnected2d.from_conv(conv, 5)
    with torch.no_grad():
        {"weight": local.weight[0, 0, 0, 0, 0], "bias": local.bias[0, 0]}[name][0] += 0.9
    with pytest.raises(UnsupportedError, match=r"differ between positions, by up to 0\.8"):
        local.to_conv()
    averaged, deviation = local.to_conv(average=True)
    assert deviation == pytest.approx(0.8)
    difference = averaged.state_dict()[name] - conv.state_dict()[name]
    assert difference.flatten()[0].item() == pytest.approx(0.1)
    assert difference.flatten()[1:].abs().max() <= 1e-15


def test_equal_weights_average_to_themselves_without_spread() -> None:
    conv = nn.Conv2d(4, 6, 3)
    averaged, deviation = LocallyConnected2d.from_conv(conv, 5).to_conv(average=True)
    assert deviation == 0
    assert torch.equal(averaged.weight, conv.weight)


def test_the_lecture_s_instance_counts_as_published() -> None:
    """55x55x96 neurons of 11x11x3: CS231n, convolutional networks, parameter sharing."""
    local = LocallyConnected2d(3, 96, 227, 11, stride=4, device="meta")
    assert tuple(local.weight.shape) == (55, 55, 96, 3, 11, 11)
    assert local.weight.numel() == 105_415_200
    assert local.bias is not None
    assert local.bias.numel() == 290_400


def test_it_agrees_with_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    local = LocallyConnected2d(4, 6, (7, 6), (3, 2), (2, 1), (1, 0), (1, 2), bias=False).double()
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    kernel = local.weight.detach().permute(0, 1, 3, 4, 5, 2).flatten(2, 4)
    wanted = jax.lax.conv_general_dilated_local(
        x.numpy(),
        kernel.numpy(),
        (2, 1),
        [(1, 1), (0, 0)],
        (3, 2),
        rhs_dilation=(1, 2),
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
    )
    assert np.abs(local(x).detach().numpy() - np.asarray(wanted)).max() <= 1e-12


def test_it_stays_one_node_and_scans_per_window() -> None:
    net = network(LocallyConnected2d(6, 6, 16, 3, padding=1, groups=2))
    assert operators(net)[:4] == ["conv2d", "relu", "locally_connected2d", "conv2d"]
    assert error_of_scan(net, 5) <= 1e-9


def test_context_mode_refuses_it_by_name() -> None:
    net = network(LocallyConnected2d(6, 6, 16, 3, padding=1))
    with pytest.raises(UnsupportedError, match=r"2 \(locally_connected2d\): is unshared"):
        fullfield.scan(net, np.zeros((20, 20, 3)), mode="context")
    with pytest.raises(UnsupportedError, match="unshared"):
        fullfield.convert(net)


def test_inspect_counts_its_parameters_as_unshared_already_and_its_work() -> None:
    local = LocallyConnected2d(6, 6, 16, 3, padding=1, groups=2)
    row = next(r for r in fullfield.inspect(network(local)).rows if r.type == "locally_connected2d")
    weights = 16 * 16 * 6 * 3 * 9
    assert row.parameters == row.unshared == weights + 16 * 16 * 6
    assert row.work.macs == weights
    assert not row.shared


def test_onnx_expresses_it(tmp_path: Any) -> None:
    net = network(LocallyConnected2d(6, 4, 16, (3, 2), (2, 1), (1, 0), (1, 2), groups=2)).to(torch.float32)
    path = fullfield.save(net, tmp_path / "local.onnx")
    x = torch.randn(3, 3, 16, 16)
    session = onnxruntime.InferenceSession(path)
    assert np.abs(session.run(None, {"image": x.numpy()})[0] - net(x).detach().numpy()).max() <= 1e-5
    assert {n.domain for n in onnx.load(path).graph.node} == {""}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 8, 5, 7), "spans 7 cells, more than the 5"),
        ((3, 8, 5, 3, 1, 0, 1, 2), "2 does not divide 3 -> 8"),
        ((0, 8, 5, 3), "0 is not a positive integer"),
        ((3, 8, (5, 5, 5), 3), "input_size"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        LocallyConnected2d(*arguments)


def test_another_input_size_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\(1, 3, 6, 6\) is not \(n, 3, 5, 5\)"):
        LocallyConnected2d(3, 2, 5, 3)(torch.zeros(1, 3, 6, 6))
