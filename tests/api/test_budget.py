"""A scan to disk keeps to its budget, whatever the image: measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = ["lenet 4 64MB 3", "lenet 4 256MB 2", "lenet-1000 4 512MB 1"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_a_scan_to_disk_takes_no_more_than_was_predicted_and_allowed(case: str) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("stream_peak.py")
    command = [sys.executable, str(script), *case.split()]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["measured"] <= found["predicted"] <= found["budget"], found
    assert found["measured"] > 10**6
