"""Variances under a sliding kernel, against their definition for each kernel."""

from __future__ import annotations

import pytest
import torch

from fullfield.layers import custom_operators as operators


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [((3, 4), (1, 1), (1, 1)), ((2, 3), (2, 3), (3, 1)), ((4, 6), (2, 4), (1, 1)), ((4, 3), (2, 3), (1, 2))],
)
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_every_kernel_has_the_variance_of_its_cells(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], mean: float
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64) + mean
    found = operators.variance_pool(x, kernel, stride, dilation)
    (ky, kx), (sy, sx), (dy, dx) = kernel, stride, dilation
    for i in range(found.shape[2]):
        for j in range(found.shape[3]):
            part = x[:, :, i * sy :: dy, j * sx :: dx][:, :, :ky, :kx]
            assert float((found[:, :, i, j] - part.var((2, 3), correction=0)).abs().max()) <= 1e-8
    assert found.shape[2:] == ((8 - dy * (ky - 1) - 1) // sy + 1, (9 - dx * (kx - 1) - 1) // sx + 1)


def test_equal_numbers_have_none_whatever_they_are() -> None:
    assert (operators.variance_pool(torch.full((1, 1, 9, 9), 0.7843137), (7, 5), (1, 1), (1, 1)) == 0).all()


def test_what_is_no_number_stays_in_its_kernels() -> None:
    x = torch.ones(1, 1, 6, 6)
    x[..., 0, 0] = torch.nan
    found = operators.variance_pool(x, (3, 3), (1, 1), (1, 1))[0, 0]
    assert found[0, 0].isnan()
    assert int(found.isnan().sum()) == 1
