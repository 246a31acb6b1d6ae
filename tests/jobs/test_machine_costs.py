"""Plans follow what was measured on the machine; a map that was begun stays with what it was planned by."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fullfield
from fullfield import Compute
from fullfield.engine.engines import choose
from fullfield.engine.engines.blobs import Blobs
from fullfield.engine.progress import Progress
from fullfield.errors import UnsupportedError
from fullfield.jobs import calibrate, machine_costs, timing
from fullfield.jobs.fastest import prepare_scan
from fullfield.jobs.request import ScanRequest
from fullfield.jobs.to_decision import scanned_map
from fullfield.planning import overhead
from fullfield.planning.calibration import MachineCosts, calibrated, reference_costs
from fullfield.planning.choose import time_per_window
from fullfield.planning.constants import ENGINE_CONSTANTS, CostConstants
from tests.api.killing import contents, differing
from tests.requests import LeftHalf, padded_model

IMAGE = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(1))
STEP = 2
SMALL_TILES = {"tile_s": 1 / 8, "call_s": 1 / 8, "fresh_byte_s": 32.0}
LARGE_TILES = {"tile_s": 64.0, "fresh_byte_s": 1 / 8}


@pytest.fixture(scope="module")
def model() -> fullfield.Model:
    return padded_model()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FULLFIELD_CACHE", str(folder))
    monkeypatch.setattr(overhead, "_BLOCK_BYTES", 1)  # a block for every tile
    return folder


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scan takes long enough to measure the machine."""
    monkeypatch.setattr(timing, "_WORTH", 0)


def request_of(model: fullfield.Model, **compute: Any) -> ScanRequest:
    return ScanRequest.parse(model, IMAGE, step=STEP, compute=Compute(**compute))


def costs(factors: dict[str, float], engine: str = "torch") -> MachineCosts:
    """Costs that are so many times those of the machine of the built-in constants."""
    reference = reference_costs(engine, huge_pages=machine_costs.has_huge_pages())
    return replace(reference, **{name: factor * getattr(reference, name) for name, factor in factors.items()})


def keep(request: ScanRequest, factors: dict[str, float]) -> None:
    """Keeps costs as if they had been measured."""
    data = json.dumps(asdict(costs(factors, request.engine.name))).encode()
    Blobs("measured").write(machine_costs._key(request), data)


def stop_after(blocks: int) -> fullfield.api.scan.OnProgress:
    def stop(now: Progress) -> None:
        if now.blocks >= blocks:
            raise KeyboardInterrupt

    return stop


def test_a_plan_follows_the_costs_that_are_kept_and_says_so(model: fullfield.Model) -> None:
    built_in = fullfield.plan(model, IMAGE, step=STEP)
    keep(request_of(model), LARGE_TILES)
    large = fullfield.plan(model, IMAGE, step=STEP)
    keep(request_of(model), SMALL_TILES)
    small = fullfield.plan(model, IMAGE, step=STEP)
    assert math.prod(small.tile) < math.prod(built_in.tile) < math.prod(large.tile)
    for plan, said in ((built_in, "built-in"), (large, "measured"), (small, "measured")):
        assert f"{said} costs" in str(plan)
        assert f"costs     {said}" in str(plan.table)
        assert plan.to_dict()["costs"] == said
    assert fullfield.plan(model, IMAGE, step=STEP, mode="context").costs == "measured"


@pytest.mark.parametrize("compute", [{"threads": 7}, {"precision": "bfloat16"}, {"engine": "openvino"}])
def test_costs_are_kept_by_engine_precision_and_threads(
    model: fullfield.Model, compute: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "_cpu_has_bfloat16", lambda: True)
    keep(request_of(model), LARGE_TILES)
    other = machine_costs._key(request_of(model, engine="torch"))
    assert other == machine_costs._key(request_of(model))
    assert machine_costs._key(request_of(model, **compute)) != other


def test_costs_depend_on_the_pages_that_memory_comes_in(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = set()
    for value in ("0", "1"):
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", value)
        keys.add(machine_costs._key(request_of(model)))
    assert len(keys) == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"mac_s": 1}', b"null"])
def test_costs_that_cannot_be_read_are_as_none(model: fullfield.Model, data: bytes) -> None:
    request = request_of(model)
    Blobs("measured").write(machine_costs._key(request), data)
    assert machine_costs.constants_for(request) == ENGINE_CONSTANTS["torch"]
    assert Blobs("measured").read(machine_costs._key(request)) is None


def test_costs_that_cannot_be_are_as_none(model: fullfield.Model, cache: Path) -> None:
    request = request_of(model)
    wrong = json.dumps(asdict(costs({})) | {"byte_s": -1.0})
    Blobs("measured").write(machine_costs._key(request), wrong.encode())
    assert not fullfield.plan(model, IMAGE, step=STEP).constants.measured
    keep(request, LARGE_TILES)
    (file,) = (cache / "measured").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert not fullfield.plan(model, IMAGE, step=STEP).constants.measured


def test_costs_are_parsed_and_applied_once_for_all_scans(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[MachineCosts] = []

    def counted(built_in: CostConstants, reference: MachineCosts, found: MachineCosts) -> CostConstants:
        applied.append(found)
        return calibrated(built_in, reference, found)

    monkeypatch.setattr(machine_costs, "calibrated", counted)
    for factor in (2.0, 2.0, 3.0, 2.0):
        keep(request_of(model), {"byte_s": factor, "call_s": 1.0625})  # which no other test keeps
        fullfield.plan(model, IMAGE, step=STEP)
    assert len(applied) == 2


def test_processes_that_share_a_scan_all_plan_by_built_in_costs(model: fullfield.Model) -> None:
    keep(request_of(model), LARGE_TILES)
    assert machine_costs.constants_for(request_of(model)).measured
    assert machine_costs.constants_for(request_of(model, world=2)) == ENGINE_CONSTANTS["torch"]


def test_no_costs_are_kept_in_other_types_or_without_a_folder(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine_costs.can_keep(request_of(model))
    assert not machine_costs.can_keep(ScanRequest.parse(model.to(torch.float64), IMAGE.double(), step=STEP))
    monkeypatch.setenv("FULLFIELD_CACHE", "")
    assert not machine_costs.can_keep(request_of(model))


def stages_of(request: ScanRequest) -> list[str]:
    stages: list[str] = []
    prepare_scan(request, progress=lambda now: stages.append(now.stage))
    return stages


def test_a_short_scan_measures_nothing(model: fullfield.Model, cache: Path) -> None:
    assert "measuring this machine" not in stages_of(request_of(model))
    assert not cache.exists()


def test_a_budget_without_room_for_it_measures_nothing(model: fullfield.Model, long: None) -> None:
    assert "measuring this machine" not in stages_of(request_of(model, budget="100MB"))
    assert "measuring this machine" in stages_of(request_of(model, budget="140MB"))


@pytest.mark.parametrize("compute", [{}, {"engine": "torch"}, {"engine": "onnxruntime"}])
def test_a_long_scan_measures_the_machine_once(model: fullfield.Model, long: None, compute: dict[str, Any]) -> None:
    if "engine" in compute:
        pytest.importorskip(compute["engine"])
    request = request_of(model, **compute)
    assert stages_of(request).count("measuring this machine") == 1
    assert stages_of(request).count("measuring this machine") == 0
    assert machine_costs.constants_for(request).measured


def test_a_short_scan_does_not_even_measure_how_fast_the_machine_is(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare_scan(request_of(model, tile=2))
    macs = job.plan.windows * time_per_window(job.plan)
    asked: list[int | None] = []
    monkeypatch.setattr(timing, "macs_per_second", lambda threads: asked.append(threads) or macs)
    monkeypatch.setattr(timing, "_SLOWEST", macs / 20)  # 20 s, at most
    assert not calibrate._is_worth(job)
    assert not asked
    monkeypatch.setattr(timing, "_SLOWEST", macs / 40)  # 40 s: 25 times 1 s may be enough
    assert not calibrate._is_worth(job)
    assert asked == [None]


def test_windows_that_are_not_wanted_take_no_time(model: fullfield.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prepare_scan(request_of(model, tile=2))
    macs = job.plan.windows * time_per_window(job.plan)
    monkeypatch.setattr(timing, "_SLOWEST", 0)
    monkeypatch.setattr(timing, "macs_per_second", lambda threads: macs / 40)  # 40 s: 25 times 1 s are enough
    half = replace(job, wanted=LeftHalf(job.plan.shape[1]))
    assert calibrate._is_worth(job)
    assert not calibrate._is_worth(half)


def test_a_scan_runs_where_its_machine_cannot_be_measured(
    model: fullfield.Model, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(choice: object) -> MachineCosts:
        raise UnsupportedError("torch", "lacks an operator", fix="use another")

    monkeypatch.setattr(machine_costs, "measure_costs", fails)
    job = prepare_scan(request_of(model))
    assert job.plan.constants == ENGINE_CONSTANTS["torch"]


def test_a_map_that_was_begun_is_resumed_by_the_costs_that_it_was_planned_by(
    model: fullfield.Model, tmp_path: Path
) -> None:
    keep(request_of(model), SMALL_TILES)
    fullfield.scan(model, IMAGE, step=STEP, output=tmp_path / "whole.zarr")
    wanted = contents(tmp_path / "whole.zarr")
    path = tmp_path / "map.zarr"
    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, IMAGE, step=STEP, output=path, progress=stop_after(3))
    keep(request_of(model), LARGE_TILES)
    fullfield.scan(model, IMAGE, step=STEP, output=tmp_path / "new.zarr")
    assert contents(tmp_path / "new.zarr") != wanted  # the plan is another one now
    totals: list[int] = []
    scores = fullfield.scan(model, IMAGE, step=STEP, output=path, progress=lambda now: totals.append(now.blocks_total))
    assert scores is not None
    assert 0 < max(totals) <= len([name for name in wanted if name.startswith("0/c/")]) - 3
    assert contents(path) == wanted, differing(contents(path), wanted)


@pytest.mark.parametrize("begun_measured", [False, True])
def test_a_finished_map_is_found_finished_whatever_is_measured_later(
    model: fullfield.Model, tmp_path: Path, begun_measured: bool
) -> None:
    path = tmp_path / "map.zarr"
    if begun_measured:
        keep(request_of(model), SMALL_TILES)
    fullfield.scan(model, IMAGE, step=STEP, output=path)
    before = contents(path)
    keep(request_of(model), LARGE_TILES)
    again = fullfield.scan(model, IMAGE, step=STEP, output=path)
    assert again is not None
    assert contents(path) == before
    assert ("costs" in again.provenance["settings"]["compute"]) is begun_measured
    named = fullfield.scan(model, IMAGE, step=STEP, output=path, compute=Compute(engine="torch"))
    assert named is not None
    assert contents(path) == before
    new = fullfield.scan(model, IMAGE, step=STEP, output=path, existing="overwrite")
    assert new is not None
    assert new.provenance["settings"]["compute"]["costs"]["macs_per_tile"] == 64 * 5e7


def test_an_overwriting_scan_that_was_stopped_is_resumed_by_its_costs(model: fullfield.Model, tmp_path: Path) -> None:
    path = tmp_path / "map.zarr"
    fullfield.scan(model, IMAGE, step=4, output=path)
    keep(request_of(model), SMALL_TILES)
    fullfield.scan(model, IMAGE, step=STEP, output=tmp_path / "whole.zarr")
    wanted = contents(tmp_path / "whole.zarr")
    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, IMAGE, step=STEP, output=path, existing="overwrite", progress=stop_after(3))
    keep(request_of(model), LARGE_TILES)
    totals: list[int] = []
    fullfield.scan(
        model,
        IMAGE,
        step=STEP,
        output=path,
        existing="overwrite",
        progress=lambda now: totals.append(now.blocks_total),
    )
    assert max(totals) <= len([name for name in wanted if name.startswith("0/c/")]) - 3
    assert contents(path) == wanted


def test_processes_that_resume_a_map_take_its_costs(model: fullfield.Model, tmp_path: Path) -> None:
    keep(request_of(model), SMALL_TILES)
    fullfield.scan(model, IMAGE, step=STEP, output=tmp_path / "whole.zarr")
    path = tmp_path / "map.zarr"
    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, IMAGE, step=STEP, output=path, progress=stop_after(2))
    for rank in (0, 1):
        fullfield.scan(model, IMAGE, step=STEP, output=path, compute=Compute(rank=rank, world=2))
    assert contents(path) == contents(tmp_path / "whole.zarr")


def test_a_record_with_costs_that_cannot_be_is_of_another_scan(model: fullfield.Model, tmp_path: Path) -> None:
    keep(request_of(model), SMALL_TILES)
    path = tmp_path / "map.zarr"
    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, IMAGE, step=STEP, output=path, progress=stop_after(2))
    (journal,) = tmp_path.glob("map.zarr.journal/job*")
    said = json.loads(journal.read_text())
    said["compute"]["costs"] = {"macs_per_byte": "many"}
    journal.write_text(json.dumps(said))
    with pytest.raises(fullfield.FullfieldError, match="costs"):
        fullfield.scan(model, IMAGE, step=STEP, output=path)


def test_the_map_of_a_decision_is_planned_once(
    model: fullfield.Model, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullfield.jobs.to_decision.map_bytes", lambda job: job.plan.budget_bytes)
    stages: list[str] = []
    with scanned_map(request_of(model), lambda now: stages.append(now.stage)) as found:
        assert "costs" in found.spec.provenance["settings"]["compute"]
    assert stages.count("measuring this machine") == 1


def test_measured_costs_change_no_score_beyond_rounding(model: fullfield.Model) -> None:
    plain = fullfield.scan(model, IMAGE, step=STEP)
    exact = fullfield.scan(model.to(torch.float64), IMAGE.double(), step=STEP)
    keep(request_of(model), SMALL_TILES)
    scores = fullfield.scan(model, IMAGE, step=STEP, verify=16)
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"
    for found in (plain, scores):
        assert np.abs(found.array - exact.array).max() <= 1e-5 * np.ptp(exact.array)
    tuning = fullfield.tune(model, IMAGE, step=STEP, samples=16)
    assert tuning.best.mode is not None


def test_a_plan_measures_the_machine_on_request_for_all_scans(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for factors, macs in ((LARGE_TILES, 64 * 5e7), (SMALL_TILES, 5e7 / 8)):
        monkeypatch.setattr(machine_costs, "measure_costs", lambda choice, factors=factors: costs(factors))
        assert fullfield.plan(model, IMAGE, step=STEP, measure=True).constants.macs_per_tile == macs
        scores = fullfield.scan(model, IMAGE, step=STEP)
        assert scores.provenance["settings"]["compute"]["costs"]["macs_per_tile"] == macs


@pytest.mark.parametrize(
    ("compute", "folder", "reason"),
    [({}, "", "FULLFIELD_CACHE is empty"), ({"world": 2}, "cache", "share"), ({}, "cache", "this is cpu, float64")],
)
def test_what_cannot_be_kept_is_not_measured(
    model: fullfield.Model, compute: dict[str, Any], folder: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLFIELD_CACHE", folder)
    net = model.to(torch.float64) if "float64" in reason else model
    with pytest.raises(fullfield.FullfieldError, match=reason):
        fullfield.plan(net, IMAGE.to(net.dtype), step=STEP, compute=Compute(**compute), measure=True)
