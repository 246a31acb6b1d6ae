"""Cells of maps that are filled with a number: in new memory, and in the maps' own."""

from __future__ import annotations

import math

import pytest
import torch

from fullfield.layers.custom_operators import fill_cells, fill_cells_


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 2, 4, 5)], ids=["channels", "two dimensions of channels"])
@pytest.mark.parametrize("cells_last", [False, True])
def test_cells_are_counted_map_by_map_and_filled_in_all_channels(shape: tuple[int, ...], cells_last: bool) -> None:
    maps = torch.randn(shape)
    if cells_last:
        maps = maps.movedim((-2, -1), (1, 2)).contiguous().movedim((1, 2), (-2, -1))
    wanted = maps.clone()
    wanted[0, ..., 1, 2] = wanted[1, ..., 0, 4] = -math.inf
    index = torch.tensor([1 * 5 + 2, 4 * 5 + 0 * 5 + 4])
    before = maps.clone()
    assert torch.equal(fill_cells(maps, index, -math.inf), wanted)
    assert torch.equal(maps, before)
    assert fill_cells_(maps, index, -math.inf).data_ptr() == maps.data_ptr()
    assert torch.equal(maps, wanted)


def test_what_fills_cells_can_be_differentiated() -> None:
    maps = torch.randn(1, 2, 2, 2, requires_grad=True)
    fill_cells(maps, torch.tensor([3]), 0.0).sum().backward()
    assert maps.grad is not None
    assert maps.grad.tolist() == [[[[1, 1], [1, 0]]] * 2]
