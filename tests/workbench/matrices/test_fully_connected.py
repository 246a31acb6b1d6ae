"""Convolutions as fully connected layers, and fully connected layers as convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fullfield import workbench
from fullfield.errors import BudgetError, GeometryError, UnsupportedError
from fullfield.layers import LocallyConnected2d


def whole(layer: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    for tensor in layer.parameters():
        tensor.data = torch.randint(-8, 9, tensor.shape, generator=generator).to(tensor.dtype)
    return layer


def draw(*shape: int) -> torch.Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(1)).float()


def flat(x: torch.Tensor, order: str) -> torch.Tensor:
    return (x if order == "cyx" else x.permute(0, 2, 3, 1)).flatten(1)


@pytest.mark.parametrize("order", ["cyx", "yxc"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(3, 6, 2, groups=3, bias=False),
        LocallyConnected2d(3, 4, (5, 6), 3),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 2)),
    ],
)
def test_a_convolution_written_out_is_a_fully_connected_layer(layer: nn.Module, order: Any) -> None:
    layer, x = whole(layer), draw(2, 3, 5, 6)
    linear = workbench.to_fc(layer, (5, 6), order=order)
    assert isinstance(linear, nn.Linear)
    assert (linear.in_features, linear.out_features) == tuple(linear.weight.shape[::-1])
    assert torch.equal(linear(flat(x, order)), flat(layer(x), order))


@pytest.mark.parametrize("order", ["cyx", "yxc"])
def test_a_fully_connected_layer_is_a_convolution_as_large_as_its_volume(order: Any) -> None:
    linear, x = whole(nn.Linear(5 * 4 * 3, 7)), draw(2, 5, 4, 3)
    conv = workbench.to_conv(linear, (5, 4, 3), order=order)
    assert conv.kernel_size == (4, 3)
    assert torch.equal(conv(x).flatten(1), linear(flat(x, order)))
    # on a larger map it slides
    wide = draw(1, 5, 4, 6)
    assert torch.equal(conv(wide)[..., 2].flatten(1), linear(flat(wide[..., 2:5], order)))


@pytest.mark.parametrize("order", ["cyx", "yxc"])
@pytest.mark.parametrize("bias", [True, False])
def test_there_and_back_is_the_same_layer(order: Any, bias: bool) -> None:
    linear = whole(nn.Linear(5 * 4 * 3, 7, bias=bias, dtype=torch.float64))
    back = workbench.to_fc(workbench.to_conv(linear, (5, 4, 3), order=order), (4, 3), order=order)
    assert torch.equal(back.weight, linear.weight)
    assert torch.equal(back.bias, linear.bias if bias else torch.zeros(7, dtype=torch.float64))
    conv = whole(nn.Conv2d(5, 7, (4, 3)))
    assert torch.equal(workbench.to_conv(workbench.to_fc(conv, (4, 3)), (5, 4, 3)).weight, conv.weight)


def test_the_result_is_trained_by_itself() -> None:
    conv, linear = nn.Conv2d(2, 2, 2).half(), nn.Linear(8, 3)
    assert workbench.to_fc(conv, 3).weight.dtype == torch.float16
    workbench.to_conv(linear, (2, 2, 2)).weight.data.zero_()
    assert linear.weight.abs().max() > 0
    assert workbench.to_fc(conv, 3).weight.requires_grad


def test_the_lectures_head_is_a_7x7_convolution() -> None:
    with torch.device("meta"):
        conv = workbench.to_conv(nn.Linear(7 * 7 * 512, 4096), (512, 7, 7))
    assert (conv.kernel_size, conv.stride, conv.padding, conv.out_channels) == ((7, 7), (1, 1), (0, 0), 4096)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(GeometryError, match="3x2x2 holds 12 numbers, the layer reads 8"):
        workbench.to_conv(nn.Linear(8, 3), (3, 2, 2))
    with pytest.raises(UnsupportedError, match="'xyc' is not known"):
        workbench.to_conv(nn.Linear(8, 3), (2, 2, 2), order="xyc")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="not linear"):
        workbench.to_fc(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 5)
    # 40,000 units on 200x200 pixels: 1.6 billion weights
    with pytest.raises(BudgetError, match=r"40000x40000 weights takes 6,400,000,000 bytes"):
        workbench.to_fc(nn.Conv2d(1, 1, 3, padding=1), 200)
