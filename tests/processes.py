"""Scripts that a test runs in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def json_of(script: Path, *args: str, seconds: float) -> dict[str, Any]:
    """What a script prints as one line of JSON; it computes with one thread."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *args]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found
