"""Pictures and backgrounds keep to their budget, whatever the image: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fullfield.arguments import parse_bytes
from tests.processes import json_of

QUICK = ["overlay 150MB 4352", "background 150MB 4352"]
SLOW = [
    *("overlay 150MB 12288", "overlay-jpeg 150MB 4096", "overlay-jpeg 150MB 12288", "overlay-fine 150MB 4096"),
    *("overlay-labels 150MB 12288", "overlay-classes 150MB 8192", "overlay-widest 150MB 8192"),
    *("overlay-softmax 150MB 8192", "background 180MB 12288", "background-strips 180MB 12288"),
    "background-bands 150MB 8192",
]


def check(case: str) -> None:
    name, budget, side = case.split()
    found = json_of(Path(__file__).with_name("picture_peak.py"), name, budget, side)
    allowed = parse_bytes(budget)
    assert allowed is not None
    assert 10**6 < found["measured"] <= allowed, found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", QUICK)
def test_a_picture_of_an_image_that_is_reduced_keeps_to_its_budget(case: str) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", SLOW)
def test_a_picture_of_a_large_image_or_map_keeps_to_its_budget(case: str) -> None:
    check(case)
