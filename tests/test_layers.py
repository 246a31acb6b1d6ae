"""The import direction: what `make lint` checks, and that the check finds a wrong import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S

ROOT = Path(__file__).parents[1]


def broken_contracts(folder: Path) -> str:
    """What lint-imports prints on a copy of the package; empty if it finds nothing wrong."""
    command = [Path(sys.executable).parent / "lint-imports", "--config", ROOT / "pyproject.toml", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode in (0, 1), result.stderr
    return result.stdout if result.returncode else ""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src/fullfield", tmp_path / "fullfield", ignore=shutil.ignore_patterns("*.pyc", "data"))
    return tmp_path


def test_imports_point_down() -> None:
    assert broken_contracts(ROOT / "src") == ""


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("geometry/axis.py", "import torch", "import no torch BROKEN"),
        ("errors.py", "from fullfield.geometry import axis", "point down the layers BROKEN"),
        ("engine/protocols.py", "import fullfield.api", "point down the layers BROKEN"),
        ("model/preprocessing.py", "def later():\n    import torch", "import no torch BROKEN"),
    ],
)
def test_a_wrong_import_is_found(package: Path, module: str, line: str, contract: str) -> None:
    file = package / "fullfield" / module
    file.write_text(f"{file.read_text()}\n{line}\n")
    assert contract in broken_contracts(package)
