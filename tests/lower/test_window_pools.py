"""Pools whose border cells read their whole window, against their definition for each cell of each window."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from fullfield.geometry.region import Pair
from fullfield.graph.calls import held_tensor
from fullfield.lower.program import lower
from tests.oracle import Scan, captured, difference

WINDOW = (11, 14)


class Gated(nn.Module):
    """A map times what a pool over all of it gives."""

    def __init__(self, padding: int, *, largest: bool) -> None:
        super().__init__()
        self.stem, self.largest = nn.Conv2d(3, 4, 3, 2, padding), largest
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        scores: Tensor = self.head((x * self.pooled(x)).flatten(1))
        return scores

    def pooled(self, x: Tensor) -> Tensor:
        return x.amax((2, 3), keepdim=True) if self.largest else x.mean((2, 3), keepdim=True)


def rows_read(cell: int, first: int, cells: int, cap: int, whole: int) -> tuple[bool, int]:
    """Whether a window's cell is one of its border, and the first of the cells that its pool reads.

    Args:
        cell: of the window.
        first: the window's first cell on the image's map.
        cells: of a window.
        cap: most cells of a border.
        whole: cells of the image's map.
    """
    if cell < min(cap, cells // 2) or cell >= cells - min(cap, (cells - 1) // 2):
        return True, 0
    return False, min(max(first + cell - cells // 2, 0), whole - cells)


def wanted(module: Gated, image: Tensor, corner: Pair, cap: int) -> Tensor:
    """The scores of the window at a corner: each of its cells times its own pool. Shape: ``(k,)``"""
    (h, w), (top, left) = WINDOW, corner
    down, across = slice(top, top + h), slice(left, left + w)
    own = {  # the cells that a pool reads: the window's along an axis on which its cell is one of the border
        (True, True): image[:, :, down, across],
        (True, False): image[:, :, down, left % 2 :],
        (False, True): image[:, :, top % 2 :, across],
        (False, False): image[:, :, top % 2 :, left % 2 :],
    }
    maps = {kind: torch.tanh(module.stem(part)) for kind, part in own.items()}
    x, whole = maps[True, True], maps[False, False].shape[2:]
    height, width = x.shape[2:]
    gates = torch.zeros_like(x)
    for i, j in itertools.product(range(height), range(width)):
        border_y, row = rows_read(i, top // 2, height, cap, whole[0])
        border_x, column = rows_read(j, left // 2, width, cap, whole[1])
        read = maps[border_y, border_x][:, :, row : row + height, column : column + width]
        gates[:, :, i, j] = module.pooled(read)[:, :, 0, 0]
    scores: Tensor = module.head((x * gates).flatten(1))[0]
    return scores


@pytest.mark.parametrize("largest", [False, True], ids=["mean", "largest"])
@pytest.mark.parametrize(
    ("padding", "step"),
    [(0, (4, 6)), (0, (6, 5)), (0, (3, 8)), (0, (12, 16)), (1, (4, 6)), (1, (2, 14))],
    ids=str,
)
@pytest.mark.parametrize("cap", [1, 2])
@torch.no_grad()
def test_border_cells_read_their_window_and_inner_ones_what_is_around_them(
    padding: int, step: Pair, cap: int, *, largest: bool
) -> None:
    torch.manual_seed(1)
    module = Gated(padding, largest=largest)
    module(torch.zeros(1, 3, *WINDOW))
    net = captured(module, WINDOW)
    image = torch.randn(1, 3, 25, 31, dtype=torch.float64)
    scan = Scan(net, cap=cap, sliding=True)
    found = scan(image, step, (2, 3))
    assert difference(scan(image, step), found) <= 1e-12
    places = itertools.product(range(found.shape[0]), range(found.shape[1]))
    expected = [wanted(module, image, (i * step[0], j * step[1]), cap) for i, j in places]
    assert difference(found, torch.stack(expected).reshape(found.shape)) <= 1e-9


@torch.no_grad()
def test_no_strip_holds_the_cells_of_all_windows() -> None:
    module = Gated(1, largest=False)
    module(torch.zeros(1, 3, *WINDOW))
    scan = Scan(captured(module, WINDOW), cap=1, sliding=True)
    image = torch.randn(1, 3, 31, 34, dtype=torch.float64)
    ((_, layout, _),) = scan.tiles(image, (2, 2), None)
    shared = lower(scan.canonical, scan.network, layout, batch=8, inference=True).shared
    assert isinstance(shared, GraphModule)
    read = [n for node in shared.graph.nodes for n in node.all_input_nodes if n.op == "get_attr"]
    indices = [t for n in read if (t := held_tensor(shared, n.target)).dtype == torch.int32]
    assert indices
    assert max(index.numel() for index in indices) < math.prod((*layout.windows, 6, 7))
