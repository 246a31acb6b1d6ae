"""Sums under kernels: each that of its cells, from few additions where kernels overlap by whole blocks."""

from __future__ import annotations

import pytest
import torch
from torch.fx import GraphModule

from fullfield.geometry.strip import Piece, Slide, Strip
from fullfield.lower.writer import Writer
from fullfield.operators.strips import sums_along

MOST = {(2000, 100): 120, (28, 4): 12, (28, 16): 12, (9, 9): 9, (7, 3): 7, (64, 1): 63, (6, 4): 6}


@pytest.mark.parametrize("dim", [-2, -1])
@pytest.mark.parametrize(("taps", "stride"), list(MOST))
def test_sums_are_those_of_every_kernels_cells(taps: int, stride: int, dim: int) -> None:
    torch.manual_seed(0)
    length = taps + 5 * stride + min(2, stride - 1)  # of which the last ones belong to no kernel
    x = torch.randn(2, 3, 4, length, dtype=torch.float64)
    to = Writer()
    strip = Strip((Piece("interior", 0, length),), Slide(stride=stride))
    to.graph.output(sums_along(to, to.graph.placeholder("x"), dim, strip, taps))
    found = GraphModule(torch.nn.Module(), to.graph)(x if dim == -1 else x.mT)
    wanted = x.unfold(3, taps, stride).sum(-1)
    assert float(((found if dim == -1 else found.mT) - wanted).abs().max()) <= 1e-11
    assert [n.target for n in to.graph.nodes].count(torch.ops.aten.add.Tensor) <= MOST[taps, stride]
