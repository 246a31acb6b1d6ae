"""What an export takes grows neither with the map nor with the number of classes: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

MOST, ORDERING = 300 * 10**6, 300 * 10**6  # bytes, of this process and of the one that orders a COG: docs/results.md
CASES = ["1000 512 .npy", "1000 512 .ome.tif", "1000 512 .tif", "0 32768 .npy", "0 32768 .ome.tif", "0 32768 .tif"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_an_export_takes_no_more_than_is_stated(case: str) -> None:
    found = json_of(Path(__file__).with_name("export_peak.py"), *case.split())
    assert 10**6 < found["measured"] <= MOST, found
    assert found["child"] <= ORDERING, found


SMALL = 150 * 10**6  # bytes of a budget
QUICK = ["40 512 .npy", "40 512 .tif"]
WITHIN = [
    "1000 512 .npy",
    "1000 512 .tif",
    "1000 512 .ome.tif",
    "1000 512 .zarr",
    "10 4096 .tif",
    "10 4096 .geojson",
    "3 1024 .csv",
    "3 1024 .parquet",
]


def check_budget(case: str) -> None:
    found = json_of(Path(__file__).with_name("export_peak.py"), *case.split(), f'{{"budget": {SMALL}}}')
    assert 10**6 < found["measured"] <= SMALL, found
    assert found["child"] <= ORDERING, found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", QUICK)
def test_an_export_keeps_to_its_budget(case: str) -> None:
    check_budget(case)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", WITHIN)
def test_an_export_of_a_large_map_keeps_to_its_budget(case: str) -> None:
    check_budget(case)
