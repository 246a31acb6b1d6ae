"""Layers as matrices: the same numbers as torch's, forwards and backwards, in double precision."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fullfield import workbench
from fullfield.errors import BudgetError, FullfieldError, GeometryError, UnsupportedError
from fullfield.layers import FeatureL2Pool, L2Pool2d, LocallyConnected2d, LocalResponseNorm2d
from fullfield.workbench.lenet_layers import RadialBasis

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


def whole(layer: nn.Module, seed: int = 0) -> nn.Module:
    """The layer in double precision with small whole numbers as weights, so that sums have no rounding."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in layer.double().parameters():
        tensor.data = torch.randint(-8, 9, tensor.shape, generator=generator).double()
    return layer.eval()


def draw(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).double()


def both_ways(layer: nn.Module, shape: tuple[int, ...], *, bound: float, at: Any = None, **options: Any) -> Any:
    """Compares output and backward pass with torch's; returns the unrolled layer."""
    x = draw(shape) if at is None else at.clone()
    unrolled = workbench.unroll(layer, shape, at=at, **options)
    matrix, bias = unrolled
    x.requires_grad_()
    y = layer(x[None].clone())[0]
    gradient = draw(tuple(y.shape), 2)
    y.backward(gradient)
    assert unrolled.output_shape == tuple(y.shape)
    assert abs(matrix @ x.detach().numpy().ravel() + bias - y.detach().numpy().ravel()).max(initial=0) <= bound
    assert abs(matrix.T @ gradient.numpy().ravel() - x.grad.numpy().ravel()).max() <= bound
    assert abs(unrolled.backward(gradient) - x.grad.numpy()).max() <= bound
    return unrolled


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.integers(1, 3))
    return {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": draw(PAIRS),
        "stride": draw(PAIRS),
        "padding": draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        "dilation": draw(PAIRS),
        "groups": groups,
        "bias": draw(st.booleans()),
    }


@settings(max_examples=60)
@given(
    windows(), st.integers(7, 10), st.integers(7, 10), st.sampled_from(["zeros", "reflect", "replicate", "circular"])
)
def test_convolutions_are_their_matrices(options: dict[str, Any], height: int, width: int, mode: str) -> None:
    layer = whole(nn.Conv2d(**options, padding_mode=mode))
    unrolled = both_ways(layer, (options["in_channels"], height, width), bound=0)
    assert unrolled.matrix.format == "csr"
    assert unrolled.matrix.has_canonical_format


@settings(max_examples=40)
@given(windows(), st.integers(7, 10), st.integers(7, 10))
def test_locally_connected_layers_are_their_matrices(options: dict[str, Any], height: int, width: int) -> None:
    layer = whole(LocallyConnected2d(**options, input_size=(height, width)))
    both_ways(layer, (options["in_channels"], height, width), bound=0)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(2, 4), st.integers(2, 4)),
    PAIRS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(4, 9),
)
def test_mean_pools_are_their_matrices(
    kernel: tuple[int, int], stride: tuple[int, int], pad: bool, ceil: bool, counts: bool, size: int
) -> None:
    layer = nn.AvgPool2d(kernel, stride, 1 if pad else 0, ceil_mode=ceil, count_include_pad=counts)
    both_ways(layer, (2, size, size + 1), bound=1e-14)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((3, None)),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(3, 4, (1, 4), padding="same", dtype=torch.float64),
        nn.Conv2d(3, 4, 3, padding="valid", dtype=torch.float64),
        nn.Identity(),
        nn.Dropout(),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_other_linear_layers_are_their_matrices(layer: nn.Module) -> None:
    both_ways(layer.eval(), (3, 7, 5), bound=1e-14)


def norm(kind: type[nn.Module], width: int) -> nn.Module:
    layer = kind(width).double().eval()
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def test_batch_norm_is_a_diagonal() -> None:
    unrolled = both_ways(norm(nn.BatchNorm2d, 3), (3, 4, 5), bound=1e-13)
    assert unrolled.matrix.nnz == 60
    assert (unrolled.matrix.diagonal() != 0).all()
    both_ways(norm(nn.BatchNorm1d, 7), (7,), bound=1e-13)
    both_ways(nn.BatchNorm2d(3, affine=False).double().eval(), (3, 2, 2), bound=1e-13)


def test_layers_in_a_row_are_one_matrix() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        norm(nn.BatchNorm2d, 8),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 4, 3, groups=2, bias=False)),
        *(nn.Dropout(), nn.Flatten(), nn.Linear(16, 7), norm(nn.BatchNorm1d, 7), nn.Linear(7, 2)),
    )
    unrolled = both_ways(net.double().eval(), (3, 8, 8), bound=1e-12)
    assert unrolled.matrix.shape == (2, 192)


def test_two_convolutions_in_a_row_reach_as_far_as_one_of_both_kernels() -> None:
    # (3 + 3 - 1)**2 taps of 3 channels for each of 4 outputs on 4x4 cells
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)).double()
    assert both_ways(layers, (3, 8, 8), bound=1e-12).matrix.nnz == 4 * 16 * 3 * 25


def test_the_matrix_is_the_jacobian() -> None:
    layer = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2)).double()
    x = torch.randn(2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    wanted = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0], x).reshape(8, 72)
    unrolled = both_ways(layer, (2, 6, 6), at=x, bound=1e-12)
    assert abs(unrolled.matrix.toarray() - wanted.numpy()).max() <= 1e-15


def test_relu_at_an_input_is_a_diagonal_of_zeros_and_ones() -> None:
    x = torch.randn(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    unrolled = both_ways(nn.ReLU(), (4096,), at=x, bound=0)
    assert workbench.unroll(nn.ReLU(), 4096, at=x).matrix.shape == (4096, 4096)
    assert unrolled.matrix.shape == (4096, 4096)
    assert np.array_equal(unrolled.matrix.diagonal(), (x > 0).double().numpy())
    assert unrolled.matrix.nnz == int((x > 0).sum())
    assert not unrolled.bias.any()


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2)]
)
def test_max_pool_at_an_input_is_a_router(pool: nn.MaxPool2d) -> None:
    x = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    unrolled = both_ways(pool, (3, 8, 8), at=x, bound=0)
    assert (unrolled.matrix.sum(axis=1) == 1).all()
    assert set(unrolled.matrix.data) == {1.0}


@pytest.mark.parametrize(
    "layer", [nn.PReLU(3), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.Sigmoid(), nn.GELU(), nn.ELU()]
)
def test_activations_have_their_slopes(layer: nn.Module) -> None:
    x = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before = x.clone()
    both_ways(layer.double(), (3, 4, 4), at=x, bound=1e-14)
    assert torch.equal(x, before)


SUMS = [
    L2Pool2d(2, must_fit=False),
    L2Pool2d((3, 2), (1, 2), padding=1, mean=True, must_fit=False),
    nn.LPPool2d(2, 2),
    nn.LPPool2d(2.0, (2, 3), stride=1),
    FeatureL2Pool(2),
    FeatureL2Pool(2, 1, groups=2),
    FeatureL2Pool(groups=2),
    nn.LocalResponseNorm(3, alpha=0.9, beta=0.6, k=2.0),
    LocalResponseNorm2d(4, alpha=0.9, beta=0.6, k=2.0),
    LocalResponseNorm2d(3, alpha=0.9, region="within"),
    LocalResponseNorm2d(4, alpha=0.9, region="within"),
    nn.Softmax(1),
    nn.Softmax(-1),
    nn.LogSoftmax(1),
    nn.LogSoftmax(2),
    nn.AdaptiveMaxPool2d((2, 3)),
    nn.AdaptiveMaxPool2d(1),
]


@pytest.mark.parametrize("layer", SUMS, ids=str)
def test_layers_of_sums_have_their_jacobian(layer: nn.Module) -> None:
    x = torch.randn(6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    unrolled = both_ways(layer, (6, 4, 5), at=x, bound=1e-13)
    wanted = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0], x)
    assert abs(unrolled.matrix.toarray() - wanted.reshape(unrolled.matrix.shape).numpy()).max() <= 1e-14
    predicted = re.search(r"with ([\d,]+) entries", refusal(layer, (6, 4, 5), x))
    assert predicted is not None
    assert unrolled.matrix.nnz <= int(predicted[1].replace(",", ""))


def refusal(layer: nn.Module, size: tuple[int, ...], x: torch.Tensor) -> str:
    """The error for a budget of one byte."""
    with pytest.raises(BudgetError) as caught:
        workbench.unroll(layer, size, at=x, budget=1)
    return str(caught.value)


@pytest.mark.parametrize("layer", [nn.Softmax(1), nn.LogSoftmax(-1), RadialBasis(7, 3)], ids=str)
def test_layers_on_vectors_have_their_jacobian(layer: nn.Module) -> None:
    x = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    both_ways(layer.double(), (7,), at=x, bound=1e-12)


def test_where_all_is_zero_a_root_has_no_slope() -> None:
    unrolled = workbench.unroll(L2Pool2d(2), (1, 4, 4), at=torch.zeros(1, 4, 4))
    assert not unrolled.matrix.toarray().any()


def test_a_whole_network_has_a_jacobian() -> None:
    net = whole(workbench.build("INPUT(2x8x8) -> CONV(4) -> TANH -> LRN(3) -> L2POOL -> POOL -> FC(3) -> SOFTMAX"))
    x = torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    both_ways(net, (2, 8, 8), at=x, bound=1e-10)


def test_lenet5_has_a_jacobian() -> None:
    net = workbench.build("LeNet-5").double()
    x = torch.rand(1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    both_ways(net, (1, 32, 32), at=x, bound=1e-9)


def test_blocks_hold_one_row_of_cells_each() -> None:
    layer = whole(nn.Conv2d(2, 3, 3, padding=1))
    unrolled = both_ways(layer, (2, 6, 5), format="bsr", bound=0)
    assert unrolled.matrix.format == "bsr"
    assert unrolled.matrix.blocksize == (5, 5)
    plain = workbench.unroll(layer, (2, 6, 5)).matrix
    assert abs(unrolled.matrix.tocsr() - plain).max() == 0


def test_types_are_the_layers_own() -> None:
    assert workbench.unroll(nn.Conv2d(1, 1, 2), 3).matrix.dtype == np.float32
    assert workbench.unroll(nn.Conv2d(1, 1, 2).double(), 3).matrix.dtype == np.float64
    assert workbench.unroll(nn.Conv2d(1, 1, 2).bfloat16(), 3).matrix.dtype == np.float32
    assert workbench.unroll(nn.AvgPool2d(2), (1, 4, 4)).matrix.dtype == np.float64


def test_several_examples_go_through_at_once() -> None:
    layer = whole(nn.Conv2d(2, 3, 3))
    x = draw((4, 2, 5, 6))
    unrolled = workbench.unroll(layer, (5, 6))
    assert np.array_equal(unrolled(x), layer(x).detach().numpy())
    assert np.array_equal(unrolled(x.flatten(1)), layer(x).detach().numpy())
    with pytest.raises(GeometryError, match=r"x: \(4, 2, 5, 5\) does not end in \(2, 5, 6\)"):
        unrolled(x[..., :5])


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).train()
    net[1].eval()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    workbench.unroll(net, 6, at=torch.randn(1, 6, 6))
    assert [m.training for m in net] == [True, False, True]
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(("layer", "size"), [(nn.Linear(3, 2), 3), (LocallyConnected2d(1, 1, 3, 1), 3)])
def test_training_the_layer_later_leaves_the_matrix_alone(layer: nn.Module, size: int) -> None:
    matrix, bias = workbench.unroll(layer, size)
    kept = matrix.copy(), bias.copy()
    for tensor in layer.parameters():
        tensor.data.add_(1)
    assert abs(matrix - kept[0]).max() == 0
    assert np.array_equal(bias, kept[1])


@pytest.mark.parametrize("format", ["csr", "bsr"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, groups=2, stride=2),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 2, 3, padding=1)),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6 * 49, 3)),
    ],
)
def test_the_size_is_known_beforehand(layer: nn.Module, format: Any) -> None:
    made = workbench.unroll(layer, (4, 9, 9), format=format)
    refused = r" takes ([0-9,]+) bytes, more than the 1 allowed"
    with pytest.raises(BudgetError, match=refused) as caught:
        workbench.unroll(layer, (4, 9, 9), format=format, budget=1)
    assert "entries" in caught.value.what
    low, high = 1, 2 * made.nbytes + 10**6
    while low < high:  # the smallest sufficient budget
        middle = (low + high) // 2
        try:
            workbench.unroll(layer, (4, 9, 9), format=format, budget=middle)
            high = middle
        except BudgetError:
            low = middle + 1
    needed = made.nbytes - made.bias.nbytes
    assert low == needed if format == "csr" and not isinstance(layer, nn.Sequential) else low >= needed


def test_a_matrix_too_large_is_refused_with_the_figure_at_once() -> None:
    with pytest.raises(BudgetError) as caught:
        workbench.unroll(nn.Conv2d(64, 64, 3, padding=1), 224)
    # 64*64 kernels of 670 rows by 670 columns of taps: 222*3 + 2*2
    entries = 64 * 64 * 670 * 670
    assert f"{entries:,} entries" in caught.value.what
    assert f"{entries * 8 + (64 * 224 * 224 + 1) * 4:,} bytes" in caught.value.what


@pytest.mark.parametrize(
    ("layer", "size", "options", "kind", "says"),
    [
        (nn.ReLU(), (3, 4, 4), {}, UnsupportedError, "ReLU: ReLU() is not linear"),
        (nn.Sequential(nn.MaxPool2d(2)), (3, 4, 4), {}, UnsupportedError, "0: MaxPool2d"),
        (nn.Softmax(1), (3, 4, 4), {}, UnsupportedError, "Softmax(dim=1) is not linear"),
        (nn.Softmax(0), (3, 4, 4), {"at": torch.zeros(3, 4, 4)}, GeometryError, "over the dimension 0 of 4"),
        (nn.LPPool2d(3, 2), (3, 4, 4), {"at": torch.ones(3, 4, 4)}, UnsupportedError, "has no matrix here"),
        (nn.GroupNorm(1, 3), (3, 4, 4), {}, UnsupportedError, "has no matrix here"),
        (nn.AvgPool2d(2), (4, 4), {}, GeometryError, "(4, 4) has no channels, and the layer states none"),
        (nn.AvgPool2d(2), 4, {}, GeometryError, "takes a map, not 4"),
        (nn.Conv2d(3, 4, 5), 4, {}, GeometryError, "kernel (5, 5) does not fit 4x4 cells"),
        (nn.Conv2d(3, 4, 3), (1, 8, 8), {}, GeometryError, "takes a map of 3 channels, not 1x8x8"),
        (nn.Conv2d(3, 4, 3), (3, 0, 8), {}, GeometryError, "(3, 0, 8) is not a size"),
        (nn.Conv2d(1, 1, 3, padding=4, padding_mode="reflect"), 4, {}, GeometryError, "reflect padding of 4 on 4"),
        (nn.Linear(5, 3), 4, {}, GeometryError, "takes 5 numbers, not 4"),
        (nn.BatchNorm2d(3), (4, 2, 2), {}, GeometryError, "takes 3 channels, not 4"),
        (nn.BatchNorm2d(3, track_running_stats=False), (3, 2, 2), {}, UnsupportedError, "no running statistics"),
        (LocallyConnected2d(3, 4, 6, 3), 5, {}, GeometryError, "was built for (6, 6) cells, not (5, 5)"),
        (nn.Conv2d(3, 4, 3), 8, {"format": "coo"}, UnsupportedError, "'coo' is not known"),
        (nn.ReLU(), (3, 4, 4), {"at": torch.zeros(3, 4, 5)}, GeometryError, "at: (3, 4, 5) is not (3, 4, 4)"),
    ],
)
def test_what_cannot_be_unrolled_is_refused(
    layer: nn.Module, size: Any, options: dict[str, Any], kind: type[FullfieldError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        workbench.unroll(layer, size, **options)
    assert says in str(caught.value)


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else find(name))
    with pytest.raises(UnsupportedError, match=r"pip install 'fullfield\[matrix\]'"):
        workbench.unroll(nn.Conv2d(1, 1, 1), 2)
