"""Runs a script in a process of its own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE_S = 3600  # ends what hangs; far above what any machine needs


def json_of(script: Path, *args: str, threads: int = 1) -> dict[str, Any]:
    """The line of JSON that a script prints, which computes with so many threads."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(script), *args]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found
