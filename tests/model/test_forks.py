"""A process that is forked after a scan with several threads scans too."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.processes import json_of


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_a_forked_child_scans_with_one_thread_and_refuses_more() -> None:
    found = json_of(Path(__file__).with_name("forked_scan.py"), threads=2)
    assert found["exit"] == 0
    assert (found["parent_threads"], found["threads"]) == (2, 1)
    assert found["child"] == pytest.approx(found["parent"], rel=1e-12)
    assert found["error"].startswith("threads: 2 cannot be started in a process that was forked")
