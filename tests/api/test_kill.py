"""However often a scan to disk is killed, the final bytes are those of a run in one go."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import json_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.fixture
def folder() -> Iterator[str]:
    """In memory where the system has such a place: a kill, unlike a power loss, does not care for disks."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield name


def campaign(**options: Any) -> dict[str, Any]:
    """What the harness found."""
    return json_of(Path(__file__).with_name("killing.py"), json.dumps(options))


def test_fifty_kills_change_no_byte(folder: str) -> None:
    found = campaign(folder=folder, kills=50)
    assert found["kills"] >= 50
    assert found["shards"] >= 200
    assert found["ends"]["SIGKILL"] >= 10


@pytest.mark.parametrize("kills", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_of_an_overwriting_scan_leave_the_earlier_result_or_the_new_one(folder: str, kills: int) -> None:
    found = campaign(folder=folder, kills=kills, cells=(8, 9), overwrite=True, life=0.6)
    assert found["kills"] >= kills
    assert found["ends"]["SIGKILL"] >= kills // 5
    assert found["seen"]["earlier"] >= kills // 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_kills_change_no_byte_whichever_engine_computes(folder: str, engine: str) -> None:
    pytest.importorskip(engine)
    found = campaign(folder=folder, kills=20, cells=(8, 9), engine=engine, seed=5)
    assert found["kills"] >= 20
    assert found["ends"]["SIGKILL"] >= 5


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "world"), [(1, 1), (2, 3), (3, 3), (4, 2)])
def test_hundreds_of_kills_of_several_processes_change_no_byte(folder: str, seed: int, world: int) -> None:
    found = campaign(folder=folder, kills=200, seed=seed, world=world, padded=True)
    assert found["kills"] >= 200
    assert found["ends"]["SIGKILL"] >= 50
