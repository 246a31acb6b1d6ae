"""Tiles against a walk: every strip, read tap by tap, holds the cells its operator asks for, and no cell is missing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import assume, given

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.strip import Piece, Strip
from fullfield.geometry.tile import AxisCells, AxisTile, lay_out, lay_out_axis
from tests.geometry.test_axis import ops

PADDING = None


@st.composite
def networks(draw: Any) -> Network:
    """A chain of operators, some with a second branch that meets it again."""
    nodes = [NodeSpec("0", "0", "image", "input", ())]
    window = draw(st.integers(4, 20))
    for op in draw(st.lists(ops, min_size=1, max_size=4)):
        source = nodes[-1].name
        nodes.append(NodeSpec(str(len(nodes)), "", "conv", "windowed", (source,), (op, op)))
        if draw(st.booleans()):
            wide = Op(3, op.stride, op.low + 1, op.high + 1, op.dilation, op.ceil)
            wide = wide if op.kernel == 1 and op.dilation == 1 else op
            nodes.append(NodeSpec(str(len(nodes)), "", "conv", "windowed", (source,), (wide, wide)))
            nodes.append(NodeSpec(str(len(nodes)), "", "add", "cell", (nodes[-2].name, nodes[-1].name)))
    return Network(tuple(nodes), (window, window))


@st.composite
def tiles(draw: Any, window: int) -> AxisTile:
    step, windows, first = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(0, 3))
    after = draw(st.integers(0, 9))
    return AxisTile(step, windows, first, window + step * (first + windows - 1) + after)


def labels(strip: Strip, source: AxisCells, family: str) -> list[int | None]:
    """What each cell of a strip holds: the cell's index within its window, or its position on the interior map."""
    cells: list[int | None] = []
    base = {"low": 0, "interior": 0, "high": source.axis.count - source.axis.high}
    for piece in strip.pieces:
        shift = 0 if family == "interior" else base[piece.family]
        cells += range(piece.start + shift, piece.stop + shift)
    padding: list[int | None] = [PADDING]
    low, high = strip.padding
    cells = padding * max(0, low) + cells + padding * max(0, high)
    return cells[max(0, -low) : len(cells) - max(0, -high)]


def taps(strip: Strip, held: list[int | None], kernel: int) -> list[list[int | None]]:
    """What the taps of each of the operator's cells read when it runs on the strip."""
    stride, dilation = strip.slide.stride, strip.slide.dilation
    starts = range(0, len(held) - dilation * (kernel - 1), stride)
    return [[held[s + dilation * m] for m in range(kernel)] for s in starts]


def drawn_layout(data: Any, cap: int | None) -> tuple[Network, dict[str, Place], AxisTile, dict[str, AxisCells]]:
    network = data.draw(networks())
    places = network.places(cap=cap)
    tile = data.draw(tiles(network.window[0]))
    layout = lay_out(network, places, tile, AxisTile(1, 1, 0, network.window[0]))
    assume(layout.frontier_inputs)
    return network, places, tile, dict(layout.y)


@given(st.data())
def test_border_strips_hold_the_windows_own_cells(data: Any) -> None:
    network, _, _, found = drawn_layout(data, data.draw(st.sampled_from([None, None, 0, 1])))
    for node in network:
        for family in ("low", "high") if node.name in found else ():
            cells, op = found[node.name], node.ops[0]
            first = 0 if family == "low" else cells.axis.count - cells.axis.high
            for source, strip in cells.strips[family].items():  # type: ignore[index]
                held = labels(strip, found[source], family)
                assert strip.length == len(held)
                count = found[source].axis.count
                wanted = []
                for y in range(first, first + cells.extent(family)):  # type: ignore[arg-type]
                    at = [y * op.stride - op.low + m * op.dilation for m in range(op.kernel)]
                    wanted.append([i if 0 <= i < count else PADDING for i in at])
                assert taps(strip, held, op.kernel) == wanted


@given(st.data())
def test_interior_strips_hold_the_positions_that_the_receptive_field_names(data: Any) -> None:
    cap = data.draw(st.sampled_from([None, None, 0, 1]))
    network, _, _, found = drawn_layout(data, cap)
    for node in network:
        cells, op = found.get(node.name), node.ops[0]
        for source, strip in cells.strips["interior"].items() if cells else ():
            held = labels(strip, found[source], "interior")
            assert strip.length == len(held)
            assert cap is not None or PADDING not in held  # exact: the interior never sees padding
            start, grid = found[source].axis.start, found[source].grid
            jump = cells.ratio * cells.grid // op.stride
            for y, taken in enumerate(taps(strip, held, op.kernel)[: cells.extent("interior")], cells.region[0]):
                corner = start - op.low * found[source].ratio * grid + y * cells.grid
                wanted = [corner + m * op.dilation * jump for m in range(op.kernel)]
                pixels = [PADDING if q is PADDING else start + q * grid for q in taken]
                assert all(p in (PADDING, w) for p, w in zip(pixels, wanted, strict=True))


@given(st.data())
def test_the_interior_holds_every_windows_cells_and_what_they_are_computed_from(data: Any) -> None:
    network, places, tile, found = drawn_layout(data, None)
    frontier_inputs = lay_out(network, places, tile, tile).frontier_inputs
    wanted: dict[str, set[int]] = {name: set() for name in found}
    for name in reversed(list(found)):
        cells = found[name]
        if name in frontier_inputs:
            wanted[name] |= positions(cells, range(cells.axis.low, cells.axis.count - cells.axis.high), tile)
        for family, strips in cells.strips.items():
            for source, strip in strips.items():
                for piece in strip.pieces:
                    if piece.family == "interior" and family != "interior":
                        wanted[source] |= positions(found[source], range(piece.start, piece.stop), tile)
                    elif piece.family == "interior":
                        wanted[source] |= set(range(piece.start, piece.stop))
        assert (min(wanted[name]), max(wanted[name]) + 1) == cells.region


def positions(cells: AxisCells, within: range, tile: AxisTile) -> set[int]:
    """Positions on the interior map of some cells of every window."""
    return {n * cells.hop + y * cells.ratio for n in range(tile.windows) for y in within}


@given(st.data())
def test_a_tile_reads_pixels_of_the_image_only(data: Any) -> None:
    _, _, tile, found = drawn_layout(data, data.draw(st.sampled_from([None, 0, 1])))
    top, bottom = found["0"].region
    assert 0 <= top + tile.first * tile.step < bottom + tile.first * tile.step <= tile.pixels


def existing(network: Network, places: dict[str, Place], pixels: int) -> dict[str, set[int]]:
    """Px of all cells that each node has on the whole image, counted map by map: one map starts at every pixel."""
    found: dict[str, set[int]] = {}
    for node in network:
        axes = places[node.name].axes
        if axes is None:
            continue
        if node.kind == "input":
            found[node.name] = set(range(pixels))
            continue
        maps = [_grown(found[i], node.ops[0], axes[0].jump // node.ops[0].stride) for i in node.inputs]
        found[node.name] = set.intersection(*maps)
    return found


def _grown(source: set[int], op: Op, jump: int) -> set[int]:
    """Px of the cells that ``op`` gives, from those of its input, whose cells lie ``jump`` px apart on each map."""
    cells: set[int] = set()
    for start in range(jump * op.stride):
        count = 0
        while start + count * jump in source:
            count += 1
        taken = range(count + op.low + op.high if count else 0)
        cells |= {start + y * jump * op.stride for y in taken if _runs(op, y * op.stride - op.low, count)}
    return cells


def _runs(op: Op, tap: int, count: int) -> bool:
    """Whether the kernel is applied where its first tap is ``tap``, on ``count`` cells."""
    last = tap + op.dilation * (op.kernel - 1)
    if op.ceil:  # it may end beyond the padding, by less than a stride, but starts before the last cell's end
        return tap < count and last - (op.stride - 1) < count + op.high
    return last < count + op.high


@given(st.data())
def test_valid_taps_are_those_on_cells_of_the_image_and_on_the_operators_own_padding(data: Any) -> None:
    network, places, tile, found = drawn_layout(data, 0)
    cells_on_image = existing(network, places, tile.pixels)
    for node in network:
        cells, op = found.get(node.name), node.ops[0]
        for source, strip in cells.strips["interior"].items() if cells else ():
            if min(strip.padding) < 0 or found[source].axis.closed:
                continue
            jump, own = found[source].axis.jump, cells_on_image[source]
            real, padded = [], []
            for y in range(*cells.region):
                first = tile.start + y * cells.grid - op.low * jump
                at = [first + m * op.dilation * jump for m in range(op.kernel)]
                assert any(p % jump == first % jump for p in own)
                end = max(p for p in own if p % jump == first % jump) + (op.high + 1) * jump
                real.append(sum(p in own for p in at))
                padded.append(sum(p < end for p in at))
            assert list(strip.valid_taps(op.kernel, padding=False)) == real
            assert list(strip.valid_taps(op.kernel, padding=True)) == padded


@given(st.data())
def test_valid_taps_of_a_border_are_those_of_its_own_window(data: Any) -> None:
    network, _, _, found = drawn_layout(data, data.draw(st.sampled_from([None, 1])))
    for node in network:
        for family in ("low", "high") if node.name in found else ():
            cells, op = found[node.name], node.ops[0]
            first = 0 if family == "low" else cells.axis.count - cells.axis.high
            for source, strip in cells.strips[family].items():  # type: ignore[index]
                if min(strip.padding) < 0:
                    continue
                count, real, padded = found[source].axis.count, [], []
                for y in range(first, first + cells.extent(family)):  # type: ignore[arg-type]
                    at = [y * op.stride - op.low + m * op.dilation for m in range(op.kernel)]
                    real.append(sum(0 <= i < count for i in at))
                    padded.append(sum(i < count + op.high for i in at))
                assert list(strip.valid_taps(op.kernel, padding=False)) == real
                assert list(strip.valid_taps(op.kernel, padding=True)) == padded


def test_a_scan_of_shared_scores_crosses_at_the_output_and_another_where_windows_part() -> None:
    image, conv = (
        NodeSpec("0", "0", "image", "input", ()),
        NodeSpec("1", "1", "conv", "windowed", ("0",), (Op(3), Op(3))),
    )
    whole = NodeSpec("2", "2", "attention", "whole", ("1",), shape=(5,), reason="attends")
    one = AxisTile(4, 2, 0, 20)
    for nodes, frontier_inputs in (((image, conv), ("1",)), ((image, conv, whole), ("1",))):
        network = Network(nodes, (6, 6))
        assert lay_out(network, network.places(), one, one).frontier_inputs == frontier_inputs
    layout = lay_out(network, network.places(), one, one)
    assert layout.cells("1") == 8 * 8
    assert layout.pixels("0") == (0, 10, 0, 10)
    assert layout.y["1"].whole().length == 4
    assert layout.y["1"].families == ("interior",)


def test_fragments_compute_every_wanted_cell_and_at_most_one_row_of_padding_each() -> None:
    image = NodeSpec("0", "0", "image", "input", ())
    pool = NodeSpec("1", "1", "pool", "windowed", ("0",), (Op(2, 2), Op(2, 2)), shape=(1, 6, 6))
    conv = NodeSpec("2", "2", "conv", "windowed", ("1",), (Op(3), Op(3)), shape=(1, 4, 4))
    network, one = Network((image, pool, conv), (12, 12)), AxisTile(1, 3, 0, 20)
    plain, cut = (lay_out(network, network.places(), one, one, fragments=f) for f in (False, True))
    wanted = plain.y["2"].extent("interior")
    assert wanted == 3 + 3 * 2
    assert plain.y["2"].computed("interior") == wanted == cut.y["2"].extent("interior")
    assert wanted <= cut.y["2"].computed("interior") <= wanted + 2


def test_windows_of_a_shift_are_those_whose_distance_is_a_multiple_of_the_shifts() -> None:
    tile = AxisTile(3, 7, 2, 100, offset=1, shifts=4)
    each = tile.each_shift()
    assert [(one.start, one.step, one.windows) for one in each] == [(7, 12, 2), (10, 12, 2), (13, 12, 2), (16, 12, 2)]
    assert [one.start for one in AxisTile(3, 2, 0, 100, shifts=4).each_shift()] == [0, 3]


def test_a_map_of_each_shift_ends_where_the_image_does() -> None:
    """A padded kernel of 3 on an image of 8 px, windows of 4 px at 0 and 1, and so on: three maps of two windows."""
    image = NodeSpec("x", "", "image", "input", ())
    conv = NodeSpec("c", "", "conv", "windowed", ("x",), (Op(3, low=1, high=1),) * 2)
    network = Network((image, conv), (4, 4))
    tile = AxisTile(1, 5, 0, 8, shifts=3)
    cells = lay_out_axis(network, network.places(cap=0), 0, tile)
    strip = cells["c"].strips["interior"]["x"]
    assert strip.pieces[0] == Piece("interior", -1, 8)  # of windows at 0 and 3, with a cell around
    assert strip.inside == ((1, 9), (0, 8), (0, 7))  # the image's cells: 0 to 8, -1 to 7 and -2 to 6
    assert cells["x"].lines == ((0, 8), (-1, 7), (-1, 6))
    assert cells["x"].pixels(1) == (0, 8)
    assert (cells["x"].maps("interior", 5), cells["x"].maps("low", 5)) == (3, 5)
