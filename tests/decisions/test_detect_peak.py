"""What finding boxes takes does not grow with the number of candidates: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

MOST = 300 * 10**6  # bytes besides the boxes: docs/detections.md


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("side", "threshold"), [("1000", "0.99"), pytest.param("2000", "0", marks=pytest.mark.slow, id="all of 4 million")]
)
def test_boxes_take_no_more_than_is_stated(side: str, threshold: str) -> None:
    found = json_of(Path(__file__).with_name("detect_peak.py"), side, threshold)
    assert found["boxes"] > 5000
    assert 10**6 < found["measured"] <= MOST, found
