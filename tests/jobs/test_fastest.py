"""The engine of a long scan is the one that was measured to be fastest; short scans measure nothing."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fullfield
from fullfield.canonical.form import Canonical
from fullfield.engine.engines.choose import EngineChoice
from fullfield.engine.protocols import Engine
from fullfield.jobs import fastest, timing, to_decision
from fullfield.jobs.fastest import EngineTimes, with_fastest_engine
from fullfield.jobs.job import ScanJob
from tests.oracle import difference
from tests.requests import LeftHalf, job_of, padded_model

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
IMAGE = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> fullfield.Model:
    torch.manual_seed(0)
    return padded_model()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FULLFIELD_CACHE", str(folder))
    return folder


@pytest.fixture
def medium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scan takes long enough for earlier measurements to count."""
    monkeypatch.setattr(fastest, "_SHORT_MACS", 0)


@pytest.fixture
def long(medium: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scan takes long enough to be measured."""
    monkeypatch.setattr(timing, "_WORTH", 0)


def stages_of(job: ScanJob) -> tuple[ScanJob, list[str]]:
    """The job with its engine, and the stages that were announced meanwhile."""
    stages: list[str] = []
    return with_fastest_engine(job, progress=lambda progress: stages.append(progress.stage)), stages


def keep(job: ScanJob, cache: Path, **window_s: float) -> None:
    """Keeps times as if they had been measured for this job."""
    said = {"window_s": window_s, "prepare_s": dict.fromkeys(window_s, 0.0)}
    key = fastest._key(job, fastest._others(job))
    fastest.Blobs("measured").write(key, json.dumps(said).encode())
    assert list(cache.glob("measured/*"))


def test_compiling_counts() -> None:
    times = EngineTimes({"torch": 1.0, "openvino": 0.5}, {"torch": 0.0, "openvino": 10.0})
    assert [times.fastest(windows) for windows in (1, 19, 21)] == ["torch", "torch", "openvino"]


def test_five_percent_are_chance() -> None:
    compiled = {"torch": 0.0, "onnxruntime": 0.0, "openvino": 0.0}
    assert EngineTimes({"torch": 1.0, "onnxruntime": 0.96, "openvino": 0.97}, compiled).fastest(1e9) == "torch"
    assert EngineTimes({"torch": 1.0, "onnxruntime": 0.94, "openvino": 0.97}, compiled).fastest(1e9) == "onnxruntime"


def test_a_short_scan_measures_nothing(model: fullfield.Model, cache: Path) -> None:
    job = job_of(model, IMAGE, step=4)
    assert stages_of(job) == (job, [])
    assert not cache.exists()
    keep(job, cache, torch=2e-3, openvino=1e-3)
    assert stages_of(job) == (job, [])


def test_a_scan_of_seconds_measures_nothing(model: fullfield.Model, cache: Path, medium: None) -> None:
    job = job_of(model, IMAGE, step=4)
    assert stages_of(job) == (job, [])
    assert not cache.exists()


@pytest.mark.skipif(platform.machine() not in fastest._X86, reason="chosen where it was measured")
@pytest.mark.parametrize(
    ("shared", "budget", "engine"), [(False, None, "openvino"), (True, None, "torch"), (False, "1MB", "torch")]
)
def test_a_scan_of_half_a_minute_that_shares_nothing_runs_in_openvino(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch, shared: bool, budget: str | None, engine: str, medium: None
) -> None:
    monkeypatch.setattr(fastest, "_LONG_MACS", 1.0)
    job = job_of(model, IMAGE, step=2 if shared else 16, mode="context" if shared else "exact", budget=budget)
    chosen, stages = stages_of(job)
    assert chosen.engine.name == engine
    assert stages == []
    assert ("nearly all runs per window" in chosen.plan.engine) == (engine == "openvino")


@pytest.mark.parametrize("settings", [{"engine": "torch"}, {"engine": "openvino"}, {"world": 2}])
def test_nothing_is_measured_where_there_is_no_choice(
    model: fullfield.Model, settings: dict[str, object], long: None
) -> None:
    job = job_of(model, IMAGE, step=4, **settings)
    assert stages_of(job) == (job, [])


def test_no_other_engine_computes_in_float64(model: fullfield.Model, long: None) -> None:
    job = job_of(model.to(torch.float64), IMAGE.double(), step=4)
    assert stages_of(job) == (job, [])


def test_a_long_scan_is_measured_once(model: fullfield.Model, long: None) -> None:
    job = job_of(model, IMAGE, step=4)
    chosen, stages = stages_of(job)
    assert stages == ["measuring engines"]
    for name in ("torch", "openvino", "onnxruntime"):
        assert name in chosen.plan.engine
    assert stages_of(job)[1] == []


def test_a_damaged_measurement_is_made_anew(model: fullfield.Model, long: None, cache: Path) -> None:
    job = job_of(model, IMAGE, step=4)
    keep(job, cache, openvino=1.0)  # without torch
    assert stages_of(job)[1] == ["measuring engines"]


def test_an_engine_that_cannot_compute_the_scan_is_left_out(
    model: fullfield.Model, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = fastest.prepare_job

    def prepared(request: fastest.ScanRequest, *, on_disk: bool) -> ScanJob:
        if request.compute.engine == "openvino":
            raise fullfield.BudgetError("plan", "too large", fix="allow more")
        return prepare(request, on_disk=on_disk)

    monkeypatch.setattr(fastest, "prepare_job", prepared)
    job, _ = stages_of(job_of(model, IMAGE, step=4))
    assert "onnxruntime" in job.plan.engine
    assert "openvino" not in job.plan.engine


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_the_fastest_engine_scans_and_says_why(model: fullfield.Model, cache: Path, name: str, medium: None) -> None:
    keep(job_of(model, IMAGE, step=4), cache, **{"torch": 2e-3, name: 1e-3})
    scores = fullfield.scan(model, IMAGE, step=4)
    assert scores.provenance["settings"]["compute"]["engine"]["name"] == name
    job, _ = stages_of(job_of(model, IMAGE, step=4))
    assert job.plan.engine == f"{name}, float32; measured a window: {name} 1 ms, torch 2 ms"
    exact = fullfield.scan(model.to(torch.float64), IMAGE.double(), step=4)
    assert difference(torch.from_numpy(scores.array), torch.from_numpy(exact.array)) <= 1e-4


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.skipif(platform.machine() not in fastest._X86, reason="chosen where it was measured")
def test_an_engine_that_does_not_import_is_replaced_by_torch_with_a_line(
    model: fullfield.Model,
    cache: Path,
    measured: bool,
    medium: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = job_of(model, IMAGE, step=16)
    if measured:
        keep(job, cache, torch=2e-3, openvino=1e-3)
    monkeypatch.setattr(fastest, "_LONG_MACS", 1.0)

    def broken(choice: EngineChoice, net: Canonical) -> Engine:
        if choice.name == "openvino":
            raise fullfield.UnsupportedError("openvino", "cannot be imported (libopenvino.so)", fix="install it")
        return made(choice, net)

    made = EngineChoice.make
    monkeypatch.setattr(EngineChoice, "make", broken)
    scores = fullfield.scan(model, IMAGE, step=16)
    assert scores.provenance["settings"]["compute"]["engine"]["name"] == "torch"
    assert "openvino is not used: openvino: cannot be imported (libopenvino.so)" in caplog.text


def test_a_finished_map_stays_with_its_engine(
    model: fullfield.Model, cache: Path, tmp_path: Path, medium: None
) -> None:
    path = tmp_path / "map.zarr"
    first = np.asarray(fullfield.scan(model, IMAGE, step=4, output=path))
    keep(job_of(model, IMAGE, step=4, on_disk=True), cache, torch=2e-3, openvino=1e-3)
    again = fullfield.scan(model, IMAGE, step=4, output=path)
    assert again.provenance["settings"]["compute"]["engine"]["name"] == "torch"
    assert np.array_equal(again.array, first)
    new = fullfield.scan(model, IMAGE, step=4, output=path, existing="overwrite")
    assert new.provenance["settings"]["compute"]["engine"]["name"] == "openvino"


def test_engines_are_measured_once_where_the_map_of_a_decision_goes_to_a_store(
    model: fullfield.Model, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLFIELD_CACHE", "")  # what was measured is not kept
    monkeypatch.setattr(to_decision, "map_bytes", lambda job: job.plan.budget_bytes)
    stages: list[str] = []
    fullfield.decide(model, IMAGE, "mean", step=4, progress=lambda progress: stages.append(progress.stage))
    assert stages.count("measuring engines") == 1


def test_windows_that_are_not_wanted_are_not_counted(model: fullfield.Model) -> None:
    every = job_of(model, IMAGE, step=4, tile=2)
    half = replace(every, wanted=LeftHalf(every.plan.shape[1]))
    assert every.wanted_windows == every.plan.windows
    assert half.wanted_windows == pytest.approx(every.plan.windows / 2, rel=0.25)
