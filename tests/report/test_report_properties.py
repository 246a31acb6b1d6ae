"""The receptive field against an independent walk over cells, and against which pixels move a cell."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from fullfield.geometry.axis import Axis, Op
from fullfield.importers.load import load
from fullfield.report.measure import measure


class Walk:
    """One axis of a chain of operators, cell by cell; pixels and cells outside the window are padding."""

    def __init__(self, pixels: int, ops: list[Op]) -> None:
        self.ops, self.counts = ops, [pixels]
        for op in ops:
            self.counts.append(self._cells(op, self.counts[-1]))

    @staticmethod
    def _cells(op: Op, count: int) -> int:
        """Windows a stride apart on the padded axis: those that fit; rounding up, until one reaches the end, as long
        as they start on a cell or before the first.
        """
        padded, span, starts = count + op.low + op.high, op.dilation * (op.kernel - 1) + 1, [0]
        while True:
            start = starts[-1] + op.stride
            reached = starts[-1] + span >= padded
            if (reached or start >= count + op.low) if op.ceil else start + span > padded:
                return len(starts)
            starts.append(start)

    @cache  # noqa: B019 - one short life a test
    def pixels(self, layer: int, cell: int) -> frozenset[int]:
        """Every pixel that a cell reads, those of the padding by where they would be."""
        if layer == 0:
            return frozenset([cell])
        return frozenset().union(*(self.pixels(layer - 1, tap) for tap in self._taps(layer, cell)))

    @cache  # noqa: B019
    def clean(self, layer: int, cell: int) -> bool:
        """Whether a cell depends on no padding at all."""
        if layer == 0:
            return True
        inside = (0 <= tap < self.counts[layer - 1] for tap in self._taps(layer, cell))
        return all(inside) and all(self.clean(layer - 1, tap) for tap in self._taps(layer, cell))

    def _taps(self, layer: int, cell: int) -> list[int]:
        op = self.ops[layer - 1]
        return [cell * op.stride - op.low + m * op.dilation for m in range(op.kernel)]


convolutions = st.builds(
    Op,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    low=st.integers(-1, 3),
    high=st.integers(-1, 3),
    dilation=st.integers(1, 3),
)


@st.composite
def pools(draw: st.DrawFn) -> Op:
    """A pool that rounds up, padded by half its kernel at most, as torch defines it."""
    kernel = draw(st.integers(1, 5))
    padding = draw(st.integers(0, kernel // 2))
    return Op(kernel, draw(st.integers(1, 4)), padding, padding, ceil=True)


operators = convolutions | pools()


@settings(max_examples=300)
@given(pixels=st.integers(1, 40), ops=st.lists(operators, min_size=1, max_size=5))
def test_an_axis_is_what_a_walk_over_its_cells_finds(pixels: int, ops: list[Op]) -> None:
    walk, axis = Walk(pixels, ops), Axis.window(pixels)
    for layer, op in enumerate(ops, start=1):
        padded = axis.count + op.low + op.high
        assume(op.extent <= padded)
        axis = axis.through(op)
        assert axis.count == walk.counts[layer]
        for cell in (0, 1, axis.count - 1):
            read = walk.pixels(layer, cell)
            assert (min(read), max(read)) == (
                axis.start + cell * axis.jump,
                axis.start + cell * axis.jump + axis.size - 1,
            )
        clean = [walk.clean(layer, cell) for cell in range(axis.count)]
        assert axis.shared == any(clean)
        if axis.shared:
            assert axis.low == clean.index(True)
            assert axis.high == clean[::-1].index(True)


def test_the_walk_can_disagree() -> None:
    walk = Walk(7, [Op(3, stride=2)])
    assert walk.counts == [7, 3]
    assert walk.pixels(1, 2) == {4, 5, 6}
    assert not Walk(7, [Op(3, low=1)]).clean(1, 0)


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """One layer through which positive weights let every pixel that is read be felt."""
    kernel, stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(st.integers(1, 2))
    if draw(st.booleans()):
        dilation = draw(st.integers(1, 2))
        padding = tuple(draw(st.integers(0, k)) for k in kernel)
        return nn.Conv2d(1, 1, kernel, stride, padding, dilation)
    return nn.AvgPool2d(kernel, stride, tuple(k // 2 for k in kernel), ceil_mode=draw(st.booleans()))


class Branches(nn.Module):
    """Two layers side by side, their maps cropped to the same cells and added."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


def positive(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand_like(weight) + 0.5)
    return module.double().eval()


def check_gradients(features: nn.Module, window: tuple[int, int], last: str) -> None:
    """The pixels that move a cell reach exactly as far as its receptive field within the window."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = positive(nn.Sequential(features, head))
    row = measure(load(module, window=window, channels=1))[last]
    assert row.axes is not None
    x = torch.rand(1, 1, *window, dtype=torch.float64, requires_grad=True)
    map_ = features(x)
    assert row.shape[-2:] == map_.shape[-2:]
    for i, j in {(0, 0), (map_.shape[2] // 2, map_.shape[3] // 2), (map_.shape[2] - 1, map_.shape[3] - 1)}:
        (gradient,) = torch.autograd.grad(map_[0, 0, i, j], x, retain_graph=True)
        for cell, axis, pixels, felt in zip((i, j), row.axes, window, (gradient.sum(3), gradient.sum(2)), strict=True):
            start = axis.start + cell * axis.jump
            wanted = max(start, 0), min(start + axis.size, pixels) - 1
            found = torch.nonzero(felt[0, 0])[:, 0].tolist()
            if found and wanted[0] <= wanted[1]:
                assert wanted[0] <= found[0]
                assert found[-1] <= wanted[1]
            if all(a.low <= c < a.count - a.high for a, c in zip(row.axes, (i, j), strict=True)):
                assert (found[0], found[-1]) == wanted


@settings(max_examples=15)
@given(chain=st.lists(layers(), min_size=1, max_size=4), window=st.tuples(st.integers(12, 24), st.integers(12, 24)))
def test_the_receptive_field_is_where_gradients_come_from(chain: list[nn.Module], window: tuple[int, int]) -> None:
    features = nn.Sequential(*chain).double()
    try:
        cells = features(torch.zeros(1, 1, *window, dtype=torch.float64)).shape[-2:]
    except RuntimeError:  # a kernel larger than its map
        assume(False)
    assume(min(cells) > 0)
    check_gradients(features, window, f"0.{len(chain) - 1}")


@pytest.mark.parametrize(("left", "right"), [((3, 1), (5, 2)), ((1, 0), (7, 3)), ((3, 1), (1, 0))])
def test_branches_that_meet_have_the_union_of_their_fields(left: tuple[int, int], right: tuple[int, int]) -> None:
    convs = [nn.Conv2d(1, 1, kernel, 2, padding) for kernel, padding in (left, right)]
    features = nn.Sequential(nn.Conv2d(1, 1, 3), Branches(*convs), nn.Conv2d(1, 1, 2))
    check_gradients(features, (25, 31), "0.2")
