from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fullfield.decisions import label_regions as module
from fullfield.decisions.clean import MISSING, NONE, without_holes, without_small
from fullfield.decisions.label_file import LabelFile
from fullfield.decisions.label_regions import FoundRegions, find_regions, recode
from fullfield.engine.progress import StageReporter

SILENT = StageReporter(None, "", 1, "px")
codes_of = st.integers(1, 14).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([0, 1, 2, NONE, MISSING]), min_size=width, max_size=width), min_size=1, max_size=12
    )
)


def raster_of(codes: NDArray[Any]) -> LabelFile:
    raster = LabelFile(codes.shape)
    raster.write((0, codes.shape[0], 0, codes.shape[1]), codes.astype(np.uint16))
    return raster


def found_in(codes: NDArray[Any], rows: int = 3) -> FoundRegions:
    return find_regions(raster_of(codes), budget_bytes=rows * 64 * codes.shape[1] * 4, stage=SILENT)


def labelled(codes: NDArray[Any]) -> NDArray[Any]:
    """scipy's connected regions of equal codes, numbered from 0 by their first pixel."""
    labels = np.zeros(codes.shape, int)
    count = 0
    for code in np.unique(codes):
        part, found = ndimage.label(codes == code)
        labels[part > 0] = part[part > 0] + count
        count += found
    _, first, inverse = np.unique(labels.ravel(), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(codes.shape)


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that force strips of a few rows have no room for regions."""
    monkeypatch.setattr(module, "_check_room", lambda *sizes: None)
    monkeypatch.setattr(module, "_UNITED_AT", 3)


@given(codes_of, st.integers(1, 12))
def test_regions_and_borders_are_those_of_scipy_whatever_the_strips(rows: list[list[int]], height: int) -> None:
    codes = np.array(rows)
    found = found_in(codes, height).regions
    labels = labelled(codes)
    assert found.count == labels.max() + 1
    assert np.array_equal(found.area, np.bincount(labels.ravel()))
    for number in range(found.count):
        assert found.code[number] == codes[labels == number][0]
    framed = np.ones(codes.shape, np.bool_)
    framed[1:-1, 1:-1] = False
    assert set(np.flatnonzero(found.outer)) == set(labels[framed])
    borders: dict[tuple[int, int], int] = {}
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            if a != b:
                pair = min(a, b), max(a, b)
                borders[pair] = borders.get(pair, 0) + 1
    pairs = zip(found.first.tolist(), found.second.tolist(), strict=True)
    assert dict(zip(pairs, found.border.tolist(), strict=True)) == borders


@given(codes_of, st.integers(1, 12))
def test_new_codes_are_written_into_the_pixels_of_each_region(rows: list[list[int]], height: int) -> None:
    codes = np.array(rows)
    raster = raster_of(codes)
    found = find_regions(raster, budget_bytes=height * 64 * codes.shape[1] * 4, stage=SILENT)
    recode(raster, found, np.arange(found.regions.count).astype(np.uint16), stage=SILENT)
    assert np.array_equal(raster.read((0, codes.shape[0], 0, codes.shape[1])), labelled(codes))


def small_merged(codes: NDArray[Any], least: int) -> NDArray[Any]:
    """The rule of ``without_small``, pixel by pixel."""
    codes = codes.copy()
    while True:
        labels = labelled(codes)
        areas = np.bincount(labels.ravel())
        code = [codes[labels == k][0] for k in range(len(areas))]
        small = [code[k] < NONE and areas[k] < least for k in range(len(areas))]
        border = np.zeros((len(areas), len(areas)), int)
        for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            np.add.at(border, (one, other), 1)
            np.add.at(border, (other, one), 1)
        moves = {}
        for k in np.flatnonzero(small):
            near = [n for n in np.flatnonzero(border[k]) if n != k and code[n] <= NONE and not small[n]]
            if near:
                moves[k] = min(near, key=lambda n: (-border[k, n], -areas[n], n))
        if not moves:
            codes[np.isin(labels, np.flatnonzero(small))] = NONE
            return codes
        for k, n in moves.items():
            codes[labels == k] = code[n]


@given(codes_of, st.integers(2, 12))
def test_small_segments_are_merged_as_pixel_by_pixel(rows: list[list[int]], least: int) -> None:
    codes = np.array(rows)
    found = found_in(codes)
    cleaned, numbers = without_small(found.regions, least)
    assert np.array_equal(cleaned.code[numbers][labelled(codes)], small_merged(codes, least))
    assert cleaned.area[cleaned.code < NONE].min(initial=least) >= least


@given(codes_of, st.integers(1, 12))
def test_holes_are_filled_as_pixel_by_pixel(rows: list[list[int]], most: int) -> None:
    codes = np.array(rows)
    wanted = np.where(codes >= NONE, NONE, codes)
    holes, count = ndimage.label(wanted == NONE)
    filled = wanted.copy()
    for number in range(1, count + 1):
        hole = holes == number
        around = ndimage.binary_dilation(hole) & ~hole
        y, x = np.nonzero(hole)
        inside = y.min() > 0 and y.max() < len(codes) - 1 and x.min() > 0 and x.max() < codes.shape[1] - 1
        if inside and hole.sum() <= most and len(np.unique(wanted[around])) == 1:
            filled[hole] = wanted[around][0]
    cleaned, numbers = without_holes(found_in(codes).regions, most)
    assert np.array_equal(cleaned.code[numbers][labelled(codes)], filled)


def test_a_scratch_file_gives_back_what_was_written() -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 16, (40, 30)).astype(np.uint16)
    raster = LabelFile((40, 30))
    assert not raster.read((0, 40, 0, 30)).any()
    for region in ((0, 25, 0, 30), (25, 40, 0, 11), (25, 40, 11, 30), (3, 3, 0, 30)):
        raster.write(region, numbers[region[0] : region[1], region[2] : region[3]])
    assert np.array_equal(raster.read((0, 40, 0, 30)), numbers)
    assert np.array_equal(raster.read((7, 31, 5, 6)), numbers[7:31, 5:6])
