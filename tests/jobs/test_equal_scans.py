"""Scans that are repeated come to be planned for many: what they share is worth preparing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.engine.progress import Progress
from fullfield.jobs.job import prepare_job
from fullfield.jobs.request import ScanRequest
from tests.api.killing import contents, differing
from tests.requests import padded_model

STEP, LEARNED = 2, 4  # px; scans after which another plan is worth preparing
IMAGE = torch.rand(3, 38, 38, generator=torch.Generator().manual_seed(1))  # 4x4 windows


@pytest.fixture
def model() -> fullfield.Model:
    """A network whose shared layers take about as long to prepare as 16 crops to run."""
    layers: list[nn.Module] = [nn.Conv2d(3, 48, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()]
    layers += [nn.MaxPool2d(2), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4))
    return fullfield.load(module.eval(), window=32)


def plan_of(model: fullfield.Model, image: torch.Tensor = IMAGE, step: int = STEP) -> fullfield.Plan:
    """The plan of the next scan."""
    return prepare_job(ScanRequest.parse(model, image, step=step)).plan


def repeat(model: fullfield.Model, times: int = LEARNED) -> None:
    for _ in range(times):
        fullfield.scan(model, IMAGE, step=STEP)


def stop(now: Progress) -> None:
    if now.stage == "computing the first tile":
        raise KeyboardInterrupt


def test_what_one_scan_computes_as_crops_repeated_ones_share(model: fullfield.Model) -> None:
    plans = []
    for _ in range(2 * LEARNED):
        plans.append(plan_of(model))
        repeat(model, 1)
    assert [plan.scans for plan in plans] == [1] * LEARNED + [LEARNED] * LEARNED
    alone, shared = plans[0], plans[-1]
    assert alone.cost.shared_macs == 0 < shared.cost.shared_macs
    assert shared.time < alone.time
    assert "costs     built-in; 4 equal scans share what is prepared" in str(shared.table)
    assert shared.to_dict()["scans"] == LEARNED


def test_their_scores_are_those_of_the_crops(model: fullfield.Model) -> None:
    repeat(model)
    exact = model.to(torch.float64)
    for _ in range(LEARNED):
        fullfield.scan(exact, IMAGE.double(), step=STEP)
    for each, image, tolerance in ((model, IMAGE, 1e-4), (exact, IMAGE.double(), 1e-9)):
        scores = fullfield.scan(each, image, step=STEP)
        assert scores.provenance["settings"]["compute"]["scans"] == LEARNED
        windows = [image[:, y : y + 32, x : x + 32] for y in range(0, 8, STEP) for x in range(0, 8, STEP)]
        with torch.inference_mode():
            wanted = each(torch.stack(windows)).T.reshape(4, 4, 4).numpy()
        assert np.abs(scores.array - wanted).max() <= tolerance * np.ptp(wanted)


def test_a_plan_changes_only_where_that_saves_what_it_prepares() -> None:
    model = padded_model()
    plans = []
    for _ in range(2 * LEARNED):
        plans.append(plan_of(model))
        repeat(model, 1)
    assert {plan.scans for plan in plans} == {1}


def test_scans_of_other_sizes_and_steps_are_no_equal_ones(model: fullfield.Model) -> None:
    repeat(model)
    assert plan_of(model).scans == LEARNED
    assert plan_of(model, IMAGE[:, :, :-2]).scans == 1
    assert plan_of(model, step=3).scans == 1


def test_only_finished_scans_of_the_same_weights_count(model: fullfield.Model) -> None:
    repeat(model, LEARNED - 1)
    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, IMAGE, step=STEP, progress=stop)
    assert plan_of(model).scans == 1
    repeat(model, 1)
    assert plan_of(model).scans == LEARNED
    next(model.graph.parameters()).data.add_(1)
    assert plan_of(model).scans == 1


def test_maps_on_disk_have_the_same_bytes_whatever_ran_before(model: fullfield.Model, tmp_path: Path) -> None:
    before, after = tmp_path / "before.zarr", tmp_path / "after.zarr"
    fullfield.scan(model, IMAGE, step=STEP, output=before)
    repeat(model)
    assert plan_of(model).scans == LEARNED
    fullfield.scan(model, IMAGE, step=STEP, output=after)
    assert contents(after) == contents(before), differing(contents(after), contents(before))


def test_files_of_equal_images_have_one_plan_and_their_own_remarks(tmp_path: Path) -> None:
    model, paths = padded_model(), [tmp_path / "a.tif", tmp_path / "b.tif"]
    pixels = np.zeros((128, 20_000, 3), np.uint8)
    for path in paths:
        tifffile.imwrite(path, pixels, rowsperstrip=64, photometric="rgb", compression="zlib")
    compute = Compute(tile=4, budget="32MB")
    jobs = [prepare_job(ScanRequest.parse(model, path, step=8, compute=compute)) for path in paths]
    assert len(jobs[0].prepared.costs._plans) == 1
    for path, job in zip(paths, jobs, strict=True):
        assert job.plan.memory.remark.startswith(f"{path}: its strips are 20000 px wide")
