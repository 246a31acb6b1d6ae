"""Shifted passes in one tile: each has interior maps of its own, and all run as one batch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import assume, given, note, settings

from fullfield.geometry.region import Pair
from tests.lower import drawn
from tests.lower.test_context import check_with_crops, image_for
from tests.lower.test_random_networks import random_networks, tiles
from tests.oracle import Scan, difference, score_grid


def one_after_the_other(scan: Scan, image: torch.Tensor, step: Pair) -> torch.Tensor:
    """The scores of passes that run apart, in tiles of whole passes."""
    (py, px), (rows, columns) = scan.shifts, score_grid(image, scan.net.window, step)
    found = torch.full((rows, columns, scan.net.classes), torch.nan, dtype=torch.float64)
    for i, j in itertools.product(range(min(py, rows)), range(min(px, columns))):
        one = replace(scan, shifts=(1, 1), offset=(i * step[0], j * step[1]))
        found[i::py, j::px] = one(image, (py * step[0], px * step[1]))
    return found


def shifted_scan(data: Any, cap: int | None) -> Scan:
    shifts = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    layers = [*drawn.GATES, *drawn.SHARED_LAYERS]
    scan = Scan(data.draw(drawn.networks(layers=layers)), cap=cap, sliding=cap is not None, shifts=shifts)
    assume(max(shifts) > 1 and scan.network.pads_by_numbers)
    note(f"{scan.net.window} {shifts} {scan.net.graph.code}")
    return scan


@settings(random_networks, max_examples=150)
@given(st.data())
def test_scores_are_those_of_passes_one_after_the_other(data: Any) -> None:
    scan = shifted_scan(data, data.draw(st.sampled_from([0, 0, 1, 2])))
    step = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    image = image_for(data, scan, step)
    note(f"{step} {tuple(image.shape)}")
    with torch.no_grad():
        wanted = one_after_the_other(scan, image, step)
        assert difference(scan(image, step), wanted) <= 1e-9
        assert difference(scan(image, step, data.draw(tiles)), wanted) <= 1e-9


@settings(random_networks, max_examples=60)
@given(st.data())
def test_with_all_borders_scores_are_those_of_the_crops(data: Any) -> None:
    scan = shifted_scan(data, None)
    check_with_crops(data, scan)
    assert scan.executed == scan.predicted
