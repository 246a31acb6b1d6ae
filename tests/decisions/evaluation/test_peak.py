"""What an evaluation takes does not grow with the map: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

MOST = 300 * 10**6  # bytes
SCRIPT = Path(__file__).with_name("evaluate_peak.py")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_evaluation_of_many_different_scores_takes_little_memory() -> None:
    found = json_of(SCRIPT, "pixels", "1200")
    assert found["samples"] == 1200**2
    assert 10**6 < found["measured"] <= MOST, found
    assert 0 < found["off"] < 1e-5, found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["pixels", "boxes"])
def test_an_evaluation_of_a_hundred_million_cells_takes_as_much(kind: str) -> None:
    found = json_of(SCRIPT, kind, "10000")
    assert found["samples"] > 10**7
    assert 10**6 < found["measured"] <= MOST, found
    assert found["off"] < 1e-4, found
