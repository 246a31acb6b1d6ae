"""A scan to disk keeps to its budget, whatever the image: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

CASES = ["lenet 4 64MB 3", "lenet 4 256MB 2", "lenet-1000 4 512MB 1"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_a_scan_to_disk_takes_no_more_than_was_predicted_and_allowed(case: str) -> None:
    found = json_of(Path(__file__).with_name("stream_peak.py"), *case.split())
    assert found["measured"] <= found["predicted"] <= found["budget"], found
    assert found["measured"] > 10**6
