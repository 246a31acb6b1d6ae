"""The wheel as a user gets it: built, installed into an empty environment, used there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (path,) = folder.glob("fullfield-*.whl")
    return path


@pytest.fixture(scope="module")
def user(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it, installed as the README says."""
    folder = tmp_path_factory.mktemp("user")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv/bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt")
    run(*pip, "torch", cwd=folder)
    run(*pip, wheel, cwd=folder)
    return folder


def test_wheel_holds_the_package_its_data_and_its_licences(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src/fullfield").rglob("*.py")}
    assert sources <= names
    assert {"fullfield/py.typed", "fullfield/data/rnet.onnx", "fullfield/data/astronaut.png"} <= names
    assert {n.rpartition("/")[2] for n in names if "/licenses/" in n} == {"LICENSE", "THIRD_PARTY.md"}
    assert not [n for n in names if n.startswith("tests") or n.endswith(".pyc")]


def test_command_answers(user: Path) -> None:
    assert "Usage: fullfield" in run(user / "venv/bin/fullfield", "--help", cwd=user)
    assert "0.1.0" in run(user / "venv/bin/fullfield", "--version", cwd=user)


def test_every_public_name_is_there(user: Path) -> None:
    code = "import fullfield; print([getattr(fullfield, name) for name in fullfield.__all__])"
    assert "Model" in run(user / "venv/bin/python", "-W", "error::UserWarning", "-c", code, cwd=user)


def test_demo_runs_and_writes_its_files(user: Path) -> None:
    printed = run(user / "venv/bin/fullfield", "demo", cwd=user)
    assert "EXACT" in printed
    suffixes = {p.suffix for p in user.rglob("*") if "venv" not in p.relative_to(user).parts}
    assert {".png", ".zarr"} <= suffixes
