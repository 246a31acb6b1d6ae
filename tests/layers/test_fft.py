"""Convolution in the frequency domain: against the direct one, gradients, the choice of method, in a network."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fullfield
from fullfield import Compute
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.layers import FFTConv2d, fft, fft_conv2d, fft_cost
from fullfield.layers.fft_cost import ConvShape
from fullfield.layers.spectrum_cache import SpectrumCache
from tests.layers.networks import error_of_scan, network, operators

# batch, in, out, groups, size, kernel, padding, dilation, tile
CASES: list[tuple[Any, ...]] = [
    (1, 1, 1, 1, (5, 5), (1, 1), 0, 1, None),
    (2, 4, 6, 2, (13, 17), (3, 5), (1, 2), 1, 8),
    (1, 3, 4, 1, (20, 9), (5, 2), 0, 2, (8, 6)),
    (2, 4, 4, 4, (15, 15), (3, 3), 4, (2, 3), None),
    (1, 2, 3, 1, (9, 9), (7, 7), 6, 1, (7, 9)),
    (3, 2, 2, 1, (7, 40), (7, 7), 0, 1, (8, 12)),
]


def tensors(case: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    n, c, k, groups, size, kernel, *_ = case
    x = torch.randn(n, c, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(k, c // groups, *kernel, dtype=torch.float64, requires_grad=True)
    return x, weight, torch.randn(k, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("cap", [1, 3000, 2**28])
@pytest.mark.parametrize("case", CASES)
def test_it_and_both_gradients_equal_the_direct_convolution(
    case: tuple[Any, ...], cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fft, "KERNEL_BYTES", cap)
    monkeypatch.setattr(fft, "TILE_BYTES", cap)
    leaves = tensors(case)
    *_, groups, _, _, padding, dilation, tile = case
    found = fft_conv2d(*leaves, padding, dilation, groups, tile=tile)
    wanted = F.conv2d(*leaves, 1, padding, dilation, groups)
    assert (found - wanted).abs().max() <= 1e-12
    grad = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, grad), torch.autograd.grad(wanted, leaves, grad), strict=True
    ):
        assert (ours - theirs).abs().max() <= 1e-11


def test_its_gradients_are_right() -> None:
    case = (2, 2, 4, 2, (6, 5), (3, 2), 1, 1, 4)

    def run(*leaves: torch.Tensor) -> torch.Tensor:
        return fft_conv2d(*leaves, 1, 1, 2, tile=4)

    assert torch.autograd.gradcheck(run, tensors(case))


def test_single_precision_is_as_good_as_a_direct_sum() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 32, 40, 40), torch.randn(16, 32, 9, 9) / 50
    exact = F.conv2d(x.double(), weight.double())
    assert (fft_conv2d(x, weight).double() - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_no_transform_runs_for_a_gradient_that_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = tensors(CASES[1])
    found = fft_conv2d(x, weight.detach(), bias, 1, 1, 2)
    monkeypatch.setattr(fft, "_correlate_with", None)
    found.sum().backward()
    assert x.grad is not None


def test_kernels_that_do_not_fit_are_refused() -> None:
    x, weight = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 5, 5)
    with pytest.raises(GeometryError, match="spans 5 cells, more than the 4"):
        fft_conv2d(x, weight)
    with pytest.raises(GeometryError, match="tile: kernel 5 spans 5"):
        fft_conv2d(x, weight, padding=2, tile=4)


def test_the_layer_is_the_convolution_with_the_same_parameters() -> None:
    torch.manual_seed(0)
    layer = FFTConv2d(4, 6, 5, padding=2, dilation=2, groups=2, fft=True).double()
    plain = nn.Conv2d(4, 6, 5, padding=2, dilation=2, groups=2).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 12, 12, dtype=torch.float64)
    assert layer.method(tuple(x.shape)) == "fft"
    assert not torch.equal(layer(x), plain(x))
    assert (layer(x) - plain(x)).abs().max() <= 1e-12


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch warns of an uneven padding
@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (FFTConv2d(2, 2, 3, stride=2, fft=True), (1, 2, 9, 9), torch.float32),
        (FFTConv2d(2, 2, 3, padding=1, padding_mode="reflect", fft=True), (1, 2, 9, 9), torch.float32),
        (FFTConv2d(2, 2, 4, padding="same", fft=True), (1, 2, 9, 9), torch.float32),
        (FFTConv2d(2, 2, 3, fft=False), (1, 2, 9, 9), torch.float32),
        (FFTConv2d(2, 2, 3, fft=True), (1, 2, 9, 9), torch.bfloat16),
        (FFTConv2d(2, 2, 3, fft=True), (2, 9, 9), torch.float32),
    ],
)
def test_what_transforms_cannot_do_runs_directly(
    layer: FFTConv2d, shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullfield.layers.fft_layer.fft_conv2d", None)
    layer = layer.to(dtype)
    assert torch.equal(layer(torch.ones(shape, dtype=dtype)), nn.Conv2d.forward(layer, torch.ones(shape, dtype=dtype)))


@pytest.mark.parametrize(("padding", "pads"), [("same", (2, 1)), ("valid", (0, 0))])
def test_padding_by_name_is_transformed_too(padding: str, pads: tuple[int, int]) -> None:
    layer = FFTConv2d(2, 2, (5, 3), padding=padding, fft=True)
    x = torch.randn(1, 2, 9, 9)
    wanted = F.conv2d(x, layer.weight, layer.bias, padding=pads)
    assert layer.method((1, 2, 9, 9)) == "fft"
    assert (layer(x) - wanted).abs().max() <= 1e-5


def test_auto_takes_small_kernels_directly_and_large_ones_by_transforms() -> None:
    def method(kernel: int, size: int) -> str:
        return FFTConv2d(64, 64, kernel, padding=kernel // 2).method((1, 64, size, size))

    assert [method(k, 128) for k in (1, 3)] == ["direct"] * 2
    assert [method(k, 128) for k in (31, 51)] == ["fft"] * 2
    kinds = [method(k, 128) for k in range(1, 52, 2)]
    assert kinds == sorted(kinds), "once transforms win they do for every larger kernel"
    assert FFTConv2d(64, 64, 31).method((1, 64, 128, 128), "cuda") == "direct"


def test_the_best_tile_holds_the_kernel_and_is_the_cheapest() -> None:
    layer = ConvShape(1, 16, 16, 1, (100, 30), (9, 5))
    best = fft_cost.best_tile(layer)
    costs = [fft_cost.fft_s(layer, (y, x)) for y in fft_cost.TILES[2:] for x in fft_cost.TILES[:6]]
    assert fft_cost.fft_s(layer, best) <= min(costs)
    assert best[0] >= 9
    assert fft_cost.best_tile(ConvShape(1, 1, 1, 1, (500, 500), (200, 200)))[0] >= 200


def test_dilation_counts_as_batch() -> None:
    layer = ConvShape.of(2, (3, 4), 1, (20, 21), (3, 3), (2, 3))
    assert (layer.batch, layer.size, layer.cells) == (12, (10, 7), (8, 5))
    assert layer.macs == 12 * 8 * 5 * 4 * 3 * 9


def test_captured_it_is_a_convolution() -> None:
    net = network(FFTConv2d(6, 6, 5, padding=2, fft=True))
    assert operators(net)[:4] == ["conv2d", "relu", "conv2d", "conv2d"]
    assert error_of_scan(net, 5) <= 1e-9
    assert fullfield.inspect(net).rows[3].parameters == 6 * 6 * 25 + 6


def test_the_operator_for_programs_is_one_node_with_a_shape_and_its_work() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, weight, bias = (t.detach() for t in tensors(CASES[2]))
    operator = torch.ops.fullfield.fft_conv2d
    counter = FlopCounterMode(display=False)
    with counter:
        found = operator(x, weight, bias, [0, 0], [2, 2], 1)
    assert (found - F.conv2d(x, weight, bias, dilation=2)).abs().max() <= 1e-12
    assert counter.get_total_flops() == 2 * found.numel() * 3 * 10
    torch.library.opcheck(operator.default, (x, weight, bias, [0, 0], [2, 2], 1), test_utils="test_faketensor")


def test_another_choice_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'sometimes' is not known"):
        FFTConv2d(1, 1, 3, fft="sometimes")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever spectra of kernels are made."""
    calls: list[int] = []
    plain = fft._Tiling.kernels

    def kernels(self: Any, weight: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return plain(self, weight)

    monkeypatch.setattr(fft._Tiling, "kernels", kernels)
    return calls


@torch.no_grad()
def test_spectra_are_cached_between_calls_up_to_the_limit(made: list[int]) -> None:
    x, weight = torch.randn(1, 4, 20, 20), torch.randn(6, 4, 7, 7)
    cache, small = SpectrumCache(10**7), SpectrumCache(1000)
    for _ in range(3):
        assert torch.equal(fft_conv2d(x, weight, spectra=cache), fft_conv2d(x, weight, tile=best(x, weight)))
    assert len(made) == 1 + 3
    assert 0 < cache.nbytes <= 10**7
    fft_conv2d(x, weight, spectra=small)
    fft_conv2d(x, weight, spectra=small)
    assert (len(made), small.nbytes) == (6, 0)


def best(x: torch.Tensor, weight: torch.Tensor) -> tuple[int, int]:
    layer = ConvShape(1, x.shape[1], weight.shape[0], 1, (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3]))
    return fft_cost.best_tile(layer, cached=True)


@pytest.mark.parametrize("change", ["add_", "data", "new", "load", "double", "nan"])
def test_changed_weights_are_never_answered_with_old_spectra(change: str) -> None:
    layer = FFTConv2d(3, 4, 7, fft=True).eval()
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        layer(x)
        if change == "add_":
            layer.weight.add_(1)
        elif change == "data":  # no version counter sees it
            layer.weight.data.flip(0).clone().copy_(layer.weight.data.mul_(-2))
        elif change == "new":
            layer.weight = nn.Parameter(torch.randn(4, 3, 7, 7))
        elif change == "load":
            layer.load_state_dict(FFTConv2d(3, 4, 7).state_dict())
        elif change == "double":
            layer, x = layer.double(), x.double()
        else:
            layer.weight.data[0, 0, 0, 0] = float("nan")
            assert layer(x).isnan().any()
            layer.weight.data[0, 0, 0, 0] = 0
        assert (layer(x) - F.conv2d(x, layer.weight, layer.bias)).abs().max() <= 1e-4


def test_frozen_weights_that_change_are_never_answered_with_old_spectra() -> None:
    layer = FFTConv2d(3, 4, 7, fft=True).requires_grad_(False)
    x = torch.randn(1, 3, 16, 16)
    layer(x)
    layer.weight.data.neg_()
    assert (layer(x) - F.conv2d(x, layer.weight, layer.bias)).abs().max() <= 1e-4


@torch.no_grad()
def test_a_tensor_in_the_memory_of_a_cached_one_gets_its_own_spectra() -> None:
    x, cache = torch.randn(1, 4, 20, 20), SpectrumCache(10**7)
    for _ in range(20):  # freed weights would give their memory to the next ones
        weight = torch.randn(6, 4, 7, 7)
        assert (fft_conv2d(x, weight, spectra=cache) - F.conv2d(x, weight)).abs().max() <= 1e-3


def test_a_layer_without_data_has_a_shape() -> None:
    layer = FFTConv2d(3, 4, 7, fft=True, device="meta")
    with torch.no_grad():
        assert layer(torch.empty(1, 3, 16, 16, device="meta")).shape == (1, 4, 10, 10)


def test_a_layer_that_learns_keeps_nothing_and_has_its_gradients(made: list[int]) -> None:
    layer = FFTConv2d(3, 4, 7, fft=True)
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        layer(x)
        layer(x)
    assert len(made) == 1
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert len(made) == 2
    layer.train()
    assert layer._spectra.nbytes == 0


def test_copies_and_files_of_a_layer_hold_no_spectra() -> None:
    layer = FFTConv2d(3, 4, 7, fft=True)
    with torch.no_grad():
        layer(torch.randn(1, 3, 16, 16))
    assert layer._spectra.nbytes
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again._spectra.nbytes == 0


def test_a_scan_makes_the_spectra_once_for_all_tiles(made: list[int]) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 31), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = fullfield.load(nn.Sequential(*layers, nn.Linear(32, 5)).eval(), window=40)
    image = torch.rand(3, 104, 136)
    scores = fullfield.scan(net, image, step=8, compute=Compute(tile=(3, 3)))
    assert len(made) < 4  # of twelve tiles, for those at the edge their own
    tile = fullfield.scan(net, image[:, :56, :56], step=8)
    assert abs(scores.array[:, :3, :3] - tile.array).max() <= 1e-4
