"""Three meanings of convolution and their relations; kernels by name."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn import functional as F

from fullfield.errors import GeometryError, UnsupportedError
from fullfield.workbench.conventions import CONVENTIONS, KERNELS, convolve, image_kernel

sizes = st.tuples(st.integers(5, 9), st.integers(5, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))


def integers(drawn: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps and kernels of small integers, so that equality is bitwise."""
    *shape, seed = drawn
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randint(-9, 10, shape[:2], generator=numbers).double()
    return x, torch.randint(-9, 10, shape[2:], generator=numbers).double()


@given(sizes)
def test_each_is_its_sum(drawn: tuple[int, ...]) -> None:
    x, kernel = integers(drawn)
    (height, width), (tall, wide) = x.shape, kernel.shape

    def pixel(i: int, j: int) -> float:
        return x[i, j].item() if 0 <= i < height and 0 <= j < width else 0.0

    places = {
        "flipped": ((height + tall - 1, width + wide - 1), lambda i, a, c: i - a),
        "centred": ((height, width), lambda i, a, c: i + c - a),
        "correlation": ((height - tall + 1, width - wide + 1), lambda i, a, c: i + a),
    }
    for convention, (shape, at) in places.items():
        found = convolve(x, kernel, convention=convention)
        assert found.shape == shape
        for i, j in itertools.product(*map(range, shape)):
            terms = (
                kernel[a, b].item() * pixel(at(i, a, tall // 2), at(j, b, wide // 2))
                for a in range(tall)
                for b in range(wide)
            )
            assert found[i, j].item() == sum(terms)


@given(sizes)
def test_the_identities_between_them_hold(drawn: tuple[int, ...]) -> None:
    x, kernel = integers(drawn)
    (height, width), (tall, wide) = x.shape, kernel.shape
    cy, cx = tall // 2, wide // 2
    turned = kernel.flip(0, 1)
    flipped = convolve(x, kernel, convention="flipped")
    centred = convolve(x, kernel, convention="centred")
    assert torch.equal(flipped, convolve(kernel, x, convention="flipped"))
    assert torch.equal(centred, flipped[cy : cy + height, cx : cx + width])
    same = convolve(x, turned, convention="flipped")[tall - 1 : height, wide - 1 : width]
    assert torch.equal(convolve(x, kernel), same)
    padded = F.pad(x, (wide - 1 - cx, cx, tall - 1 - cy, cy))
    assert torch.equal(centred, convolve(padded, turned))
    full = F.pad(x, (wide - 1, wide - 1, tall - 1, tall - 1))
    assert torch.equal(flipped, convolve(full, turned))


@given(sizes, sizes)
def test_the_mathematician_s_is_associative(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    x, a = integers(one)
    _, b = integers(other)
    left = convolve(convolve(x, a, convention="flipped"), b, convention="flipped")
    assert torch.equal(left, convolve(x, convolve(a, b, convention="flipped"), convention="flipped"))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_maps_in_front_of_the_last_two_axes_stay(convention: str) -> None:
    x, kernel = torch.randn(2, 3, 6, 5), torch.randn(3, 2)
    found = convolve(x, kernel, convention=convention)
    assert found.shape[:2] == (2, 3)
    assert (found[1, 2] - convolve(x[1, 2], kernel, convention=convention)).abs().max() <= 1e-6


def test_a_spike_shows_the_kernel_turned_or_not() -> None:
    spike, kernel = torch.zeros(5, 5), torch.arange(9.0).reshape(3, 3)
    spike[2, 2] = 1
    assert torch.equal(convolve(spike, kernel, convention="centred")[1:4, 1:4], kernel)
    assert torch.equal(convolve(spike, kernel), kernel.flip(0, 1))


def test_what_is_no_convolution_is_refused() -> None:
    x = torch.zeros(3, 3)
    with pytest.raises(UnsupportedError, match="use one of flipped, centred, correlation"):
        convolve(x, x, convention="full")
    with pytest.raises(GeometryError, match="larger than the map"):
        convolve(x, torch.zeros(4, 4))
    with pytest.raises(GeometryError, match="not a matrix"):
        convolve(x, torch.zeros(3))


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_sum_to_what_they_are_for(name: str) -> None:
    kernel = image_kernel(name, dtype=torch.float64)
    keeps = name in ("identity", "box", "gaussian", "blur", "sharpen", "emboss")
    assert kernel.shape == (3, 3)
    assert kernel.sum().item() == pytest.approx(1 if keeps else 0, abs=1e-15)


def test_edges_answer_to_their_own_direction_only() -> None:
    right = torch.arange(5.0).expand(5, 5)
    for name, gain in (("sobel", 8), ("prewitt", 6)):
        assert torch.equal(convolve(right, image_kernel(f"{name}_x")), torch.full((3, 3), float(gain)))
        assert torch.equal(convolve(right, image_kernel(f"{name}_y")), torch.zeros(3, 3))
        assert torch.equal(convolve(right.T, image_kernel(f"{name}_y")), torch.full((3, 3), float(gain)))
    for name in ("edge", "laplacian"):
        assert torch.equal(convolve(right, image_kernel(name)), torch.zeros(3, 3))
    for name in ("identity", "sharpen"):
        assert torch.equal(convolve(right, image_kernel(name)), right[1:-1, 1:-1])


def test_blurs_come_in_odd_sizes() -> None:
    assert torch.equal(image_kernel("gaussian"), image_kernel("blur"))
    assert torch.equal(image_kernel("gaussian", 5)[2] * 256, torch.tensor([6.0, 24.0, 36.0, 24.0, 6.0]))
    twice = convolve(image_kernel("gaussian"), image_kernel("gaussian"), convention="flipped")
    assert torch.equal(twice, image_kernel("gaussian", 5))
    assert torch.equal(image_kernel("box", 5) * 25, torch.ones(5, 5))
    with pytest.raises(GeometryError, match="4 has no middle"):
        image_kernel("box", 4)
    with pytest.raises(GeometryError, match="is 3 x 3, not 5 x 5"):
        image_kernel("sobel_x", 5)
    with pytest.raises(UnsupportedError, match="'scharr' is not known"):
        image_kernel("scharr")
