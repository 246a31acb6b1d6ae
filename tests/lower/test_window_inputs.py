"""What runs per window takes its cells by a view where they lie evenly in the table, by an index elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fullfield.geometry.region import Pair
from fullfield.lower.program import TileProgram, lower
from tests.oracle import Scan, captured, crops, difference

WINDOW, IMAGE = (12, 10), (1, 3, 41, 47)


def scan_of(stop: int) -> Scan:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 3, stride=2), nn.Flatten(), nn.LazyLinear(6)]
    module = nn.Sequential(*layers)
    module(torch.zeros(1, 3, *WINDOW))
    return Scan(captured(module, WINDOW), stop=stop, batch=4)


def program(scan: Scan, step: Pair) -> TileProgram:
    ((_, layout, _),) = scan.tiles(torch.zeros(IMAGE, dtype=torch.float64), step, None)
    return lower(scan.canonical, scan.network, layout, batch=4, inference=True)


@pytest.mark.parametrize("step", [(12, 10), (5, 7), (1, 2), (14, 30), (31, 37)], ids=str)
@torch.no_grad()
def test_windows_cut_from_the_image_are_views_and_score_as_crops_do(step: Pair) -> None:
    scan = scan_of(stop=1)
    lowered = program(scan, step)
    assert all(taken.strides is not None for taken in lowered.inputs)
    assert not dict(lowered.named_buffers(recurse=False))
    image = torch.randn(IMAGE, dtype=torch.float64)
    wanted = crops(scan.net, image, step)
    assert difference(scan(image, step), wanted) <= 1e-12
    assert difference(scan(image, step, (2, 3)), wanted) <= 1e-12


@torch.no_grad()
def test_cells_of_several_families_are_taken_by_an_index() -> None:
    """A padded convolution computes the cells at a window's border for each window, beside those that windows share."""
    scan = scan_of(stop=2)
    lowered = program(scan, (4, 3))
    assert [taken.strides for taken in lowered.inputs] == [None]
    image = torch.randn(IMAGE, dtype=torch.float64)
    assert difference(scan(image, (4, 3)), crops(scan.net, image, (4, 3))) <= 1e-12
