"""Pools that slide with the window, against their definition for each cell."""

from __future__ import annotations

import pytest
import torch

from fullfield.layers import custom_operators as operators


@pytest.mark.parametrize("kernel", [(3, 4), (6, 1), (1, 5), (6, 7)], ids=str)
@pytest.mark.parametrize("largest", [False, True])
def test_each_cell_has_its_own_kernel_which_stays_inside_the_map(kernel: tuple[int, int], largest: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    (h, w), (rows, columns) = kernel, x.shape[2:]
    found = operators.sliding_pool(x, kernel, largest)
    assert found.shape == x.shape
    for i in range(rows):
        for j in range(columns):
            top, left = min(max(i - h // 2, 0), rows - h), min(max(j - w // 2, 0), columns - w)
            part = x[:, :, top : top + h, left : left + w]
            wanted = part.amax((2, 3)) if largest else part.mean((2, 3))
            assert float((found[:, :, i, j] - wanted).abs().max()) <= 1e-12


def test_its_gradient_is_that_of_its_parts() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: operators.sliding_pool(a, (2, 4), False), x)
