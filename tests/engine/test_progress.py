"""The record of progress that every long piece of work reports."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import fullfield
from fullfield.engine.progress import Progress, StageReporter


def test_fraction_and_rest_follow_from_what_is_done() -> None:
    now = Progress("scanning", 25, 100, elapsed_s=5.0)
    assert now.fraction == 0.25
    assert now.left_s == 15.0
    unknown = Progress("planning", elapsed_s=5.0)
    assert (unknown.fraction, unknown.left_s) == (0.0, None)
    assert Progress("scanning", 0, 100, elapsed_s=5.0).left_s is None


@pytest.mark.parametrize(
    ("reading", "writing", "bound"), [(6.0, 1.0, "reader"), (1.0, 6.0, "writer"), (2.0, 3.0, "compute")]
)
def test_what_took_most_of_the_time_is_named(reading: float, writing: float, bound: str) -> None:
    assert Progress("scanning", 1, 2, elapsed_s=10.0, reading_s=reading, writing_s=writing).bound == bound


def test_a_snapshot_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Progress("scanning").done = 1  # type: ignore[misc]


def test_a_stage_reports_its_name_unit_and_time() -> None:
    seen: list[Progress] = []
    stage = StageReporter(seen.append, "exporting", 10, "cells")
    stage.report(4)
    stage.report(10)
    found = [(now.stage, now.done, now.total, now.unit) for now in seen]
    assert found == [("exporting", 4, 10, "cells"), ("exporting", 10, 10, "cells")]
    assert 0 <= seen[0].elapsed_s <= seen[1].elapsed_s
    StageReporter(None, "exporting", 10, "cells").report(4)


def test_scan_verification_and_export_report_alike(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 36, 3)).eval()
    image = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    seen: list[Progress] = []
    scores = fullfield.scan(fullfield.load(module, window=8), image, step=4, verify=20, progress=seen.append)
    fullfield.export(scores, tmp_path / "map.npy", progress=seen.append)
    last = {now.stage: now for now in seen}
    counted = {name: (now.done, now.total, now.unit) for name, now in last.items() if now.total}
    assert counted == {
        "scanning": (99, 99, "windows"),
        "comparing with crops": (20, 20, "windows"),
        "exporting": (99, 99, "cells"),
    }
