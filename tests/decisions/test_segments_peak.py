"""What segments take does not grow with the image: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def check(side: int, guided: int, budget: int) -> None:
    found = json_of(Path(__file__).with_name("segments_peak.py"), str(side), "16", str(guided), str(budget))
    assert 10**6 < found["measured"] <= budget, found
    assert found["side"] == side
    assert found["segments"] > 20


@LINUX
@pytest.mark.parametrize("guided", [0, 12])
def test_segments_keep_to_a_small_budget(guided: int) -> None:
    check(1500, guided, 10**8)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(("side", "guided"), [(20_000, 0), (8000, 12)])
def test_segments_of_a_large_image_take_no_more_than_is_stated(side: int, guided: int) -> None:
    check(side, guided, 300 * 10**6)
