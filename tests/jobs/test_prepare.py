"""What is prepared before a scan: no more than it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import fullfield
from fullfield.canonical import pipeline
from fullfield.canonical.form import Canonical
from fullfield.engine.engines.choose import EngineChoice, choose_engine
from fullfield.jobs import prepare
from fullfield.model.model import Model
from tests.api import networks
from tests.api.networks import WINDOW, made
from tests.requests import job_of


@pytest.mark.parametrize(("step", "forms"), [(4, 1), ((4, 5), 1), (None, 2)])
def test_a_network_behind_gates_is_looked_past_only_for_its_stride(
    step: int | tuple[int, int] | None, forms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    whole = pipeline.canonical

    def counted(net: Model, *, sliding: bool = False) -> Canonical:
        calls.append(sliding)
        return whole(net, sliding=sliding)

    monkeypatch.setattr(pipeline, "canonical", counted)
    monkeypatch.setattr(prepare, "canonical", counted)
    height, width = WINDOW
    net = replace(made(networks.gated))  # nothing is kept of it
    work = job_of(net, torch.rand(3, height + 9, width + 9), step=step)
    assert len(calls) == forms
    assert work.prepared.stride == work.prepared.stride
    assert len(calls) == 2


def test_both_forms_of_a_network_are_kept_until_a_weight_changes() -> None:
    net = replace(made(networks.gated))
    exact, sliding = prepare.prepare(net), prepare.prepare(net, sliding=True)
    assert exact is not sliding
    assert prepare.prepare(net) is exact
    assert prepare.prepare(net, sliding=True) is sliding
    with torch.no_grad():
        next(net.graph.parameters()).view(-1)[0] += 1e-3
    assert prepare.prepare(net, sliding=True) is not sliding
    assert prepare.prepare(net) is not exact


def test_verify_and_tune_prepare_each_form_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: list[bool] = []
    whole = prepare.run_passes

    def counted(net: Model, *, sliding: bool = False) -> object:
        forms.append(sliding)
        return whole(net, sliding=sliding)

    monkeypatch.setattr(prepare, "run_passes", counted)
    net, image = replace(made(networks.padded)), torch.rand(3, WINDOW[0] + 16, WINDOW[1] + 16)
    for _ in range(2):
        fullfield.tune(net, image, step=4, samples=4)
        for mode in ("exact", "context", 1):
            fullfield.verify(net, image, step=4, mode=mode, samples=4)
    assert sorted(forms) == [False, True]


def test_the_weights_are_hashed_once_for_a_scan_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    whole = Model.hash.fget  # type: ignore[attr-defined]

    def counted(model: Model) -> str:
        hashed.append(whole(model))
        return hashed[-1]

    monkeypatch.setattr(Model, "hash", property(counted))
    height, width = WINDOW
    image = torch.rand(3, height + 9, width + 9)
    net = replace(made(networks.padded))  # without what other tests have cached
    fullfield.scan(net, image, step=4, output=tmp_path / "map.zarr", verify=4)
    assert len(hashed) == 1


def test_a_scan_chooses_its_engine_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[EngineChoice] = []

    def counted(*given: Any) -> EngineChoice:
        chosen.append(choose_engine(*given))
        return chosen[-1]

    monkeypatch.setattr("fullfield.jobs.request.choose_engine", counted)
    fullfield.scan(made(networks.padded), torch.rand(3, *WINDOW), step=4)
    assert len(chosen) <= 2
