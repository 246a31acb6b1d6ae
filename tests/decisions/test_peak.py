"""What a decision takes grows neither with the map nor with its classes: measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import json_of

MOST = 300 * 10**6  # bytes: docs/decisions.md
QUICK = ["2 1500 mean scores holes", "70 400 quantile:0.9 softmax holes"]
LARGE = [
    "1 10000 mean scores full", "1 10000 mean scores holes", "1 10000 top-k:10% scores holes",
    "1 10000 quantile:0.5 scores full", "1 10000 log-sum-exp sigmoid holes", "1000 320 mean softmax holes",
    "1000 320 quantile:0.9 scores holes", "1000 320 top-k:5% scores full",
]  # fmt: skip


def check(case: str) -> None:
    found = json_of(Path(__file__).with_name("decide_peak.py"), *case.split())
    assert 10**6 < found["measured"] <= MOST, found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", QUICK)
def test_a_decision_takes_no_more_than_is_stated(case: str) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", LARGE)
def test_a_decision_of_a_hundred_million_scores_takes_no_more(case: str) -> None:
    check(case)
