"""Engines and precisions: what can be asked for, what a scan in bfloat16 says of itself, what a resumed one keeps."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.engine.engines import choose
from fullfield.errors import ArgumentError, FullfieldError, GeometryError
from fullfield.planning.compute import EngineName


@pytest.fixture(scope="module")
def model() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()]
    return fullfield.load(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval(), window=16
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [({"engine": "onnx"}, "engine"), ({"precision": "int8"}, "precision"), ({"threads": 0}, "threads")],
)
def test_unknown_words_are_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        Compute(**fields)  # type: ignore[arg-type]


def test_other_engines_do_not_compute_in_float64(model: fullfield.Model) -> None:
    with pytest.raises(ArgumentError, match="openvino does not compute in float64"):
        fullfield.scan(model.to(torch.float64), torch.rand(3, 24, 24), compute=Compute(engine="openvino"))


def test_a_precision_that_the_cpu_lacks_is_refused_by_name(
    model: fullfield.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "_cpu_has_bfloat16", lambda: False)
    with pytest.raises(ArgumentError, match="no instructions for bfloat16"):
        fullfield.scan(model, torch.rand(3, 24, 24), compute=Compute(precision="bfloat16"))


def test_tf32_is_a_precision_of_gpus(model: fullfield.Model) -> None:
    with pytest.raises(ArgumentError, match="tf32 is a way to compute of NVIDIA's GPUs, and the model lies on cpu"):
        fullfield.scan(model, torch.rand(3, 24, 24), compute=Compute(precision="tf32"))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_precision_that_the_gpu_lacks_is_refused_by_name(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, gpu = Compute(precision=precision), torch.device("cuda:0")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ArgumentError, match=f"this GPU has no instructions for {precision}"):
        choose.choose_engine(compute, torch.float32, gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    chosen = choose.choose_engine(compute, torch.float32, gpu)
    assert chosen.precision == precision
    assert chosen.network_dtype == {"tf32": torch.float32, "bfloat16": torch.bfloat16}[precision]


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
def test_bfloat16_says_how_far_it_is_from_the_models_own_precision(model: fullfield.Model) -> None:
    image = torch.rand(3, 40, 40)
    compute = Compute(precision="bfloat16")
    scores = fullfield.scan(model, image, step=4, compute=compute, verify=16)
    plain = fullfield.scan(model, image, step=4)
    certificate = scores.certificate
    assert certificate is not None
    assert certificate.dtype == "float32"
    assert certificate.verdict.startswith("BFLOAT16: differs by ")
    assert certificate.holds
    assert certificate.spread > 0
    assert 0 < certificate.relative < 0.1
    assert 0 < np.abs(scores.array - plain.array).max() < 0.1
    again = fullfield.verify(model, image, scores=scores, samples=16)
    assert again.verdict == certificate.verdict
    assert fullfield.scan(model, image, step=4, verify=16).certificate.verdict == "EXACT"  # type: ignore[union-attr]


def test_the_precision_of_a_model_is_no_other_one(model: fullfield.Model) -> None:
    scores = fullfield.scan(model, torch.rand(3, 24, 24), step=4, compute=Compute(precision="float32"), verify=4)
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"


def test_threads_are_set_and_given_back(model: fullfield.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    before, used = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    fullfield.scan(model, torch.rand(3, 24, 24), step=8, compute=Compute(threads=before + 1, tile=2))
    assert used == [before + 1, before]


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
def test_a_map_is_not_resumed_in_another_precision(model: fullfield.Model, tmp_path: Path) -> None:
    image = torch.rand(3, 80, 80)

    def stop(progress: fullfield.Progress) -> None:
        if progress.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, image, step=1, output=tmp_path / "a.zarr", compute=Compute(tile=8), progress=stop)
    with pytest.raises(FullfieldError, match="precision"):
        fullfield.scan(model, image, step=1, output=tmp_path / "a.zarr", compute=Compute(tile=8, precision="bfloat16"))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_another_engine_gives_the_scores_and_is_named_in_the_result(
    model: fullfield.Model, engine: Literal["openvino", "onnxruntime"], tmp_path: Path
) -> None:
    image = torch.rand(3, 48, 40)
    scores = fullfield.scan(model, image, step=4, compute=Compute(engine=engine), verify=8)
    plain = fullfield.scan(model, image, step=4, compute=Compute(engine="torch"))
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"
    assert np.abs(scores.array - plain.array).max() <= 1e-5 * np.ptp(plain.array)
    assert scores.provenance["settings"]["compute"]["engine"]["name"] == engine
    assert scores.provenance["settings"]["compute"]["engine"]["version"]


def test_an_unfinished_map_is_resumed_with_the_engine_that_began_it(model: fullfield.Model, tmp_path: Path) -> None:
    image, path = torch.rand(3, 80, 80), tmp_path / "map.zarr"

    def stop(progress: fullfield.Progress) -> None:
        if progress.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8, engine="openvino"), progress=stop)
    with pytest.raises(FullfieldError, match="engine"):
        fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8, engine="torch"))
    scores = fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8))
    assert scores is not None
    assert scores.provenance["settings"]["compute"]["engine"]["name"] == "openvino"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_unfinished_map_whose_engine_is_missing_says_what_began_it(
    model: fullfield.Model, engine: EngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, path = torch.rand(3, 80, 80), tmp_path / "map.zarr"

    def stop(progress: fullfield.Progress) -> None:
        if progress.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8, engine=engine), progress=stop)
    version = re.escape(importlib.import_module(engine).__version__)
    monkeypatch.setitem(sys.modules, engine, None)
    for asked in ("auto", engine):
        with pytest.raises(fullfield.ResumeError, match=f"begun with {engine} {version}, which is not") as caught:
            fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8, engine=asked))
        assert f"fullfield[{engine}]" in str(caught.value)
        assert "--restart" in str(caught.value)
    with pytest.raises(fullfield.ResumeError, match=f'engine.name "{engine}", now it is "torch"'):
        fullfield.scan(model, image, step=1, output=path, compute=Compute(tile=8, engine="torch"))
    compute = Compute(tile=8)
    assert fullfield.scan(model, image, step=1, output=path, existing="restart", compute=compute) is not None


@pytest.mark.parametrize("verb", [fullfield.plan, fullfield.scan, fullfield.verify, fullfield.tune])
def test_a_missing_engine_is_named_with_its_extra_before_anything_is_planned(
    model: fullfield.Model, verb: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(fullfield.UnsupportedError, match=r"openvino: is not installed(?s:.*)fullfield\[openvino\]"):
        verb(model, torch.rand(3, 48, 40), step=4, compute=Compute(engine="openvino"))


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
def test_tuning_lists_bfloat16_and_never_chooses_it(model: fullfield.Model) -> None:
    tuning = fullfield.tune(model, torch.rand(3, 60, 60), step=2, tolerance=0.5, samples=16)
    assert {t.precision for t in tuning.lower} == {"bfloat16"}
    assert {t.mode for t in tuning.lower} == {tuning.best.mode, "exact"}
    assert tuning.best.precision is None
    exact = next(t for t in tuning.lower if t.mode == "exact")
    assert 1e-6 < exact.worst < 0.1
    assert "exact, bfloat16" in str(tuning)
    double = fullfield.tune(model.to(torch.float64), torch.rand(3, 60, 60), step=2, tolerance=0.5, samples=16)
    assert double.lower == ()


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
@pytest.mark.parametrize(("engine", "lower"), [("openvino", {"bfloat16"}), ("onnxruntime", set())])
def test_tuning_lists_the_precisions_that_its_engine_has(
    model: fullfield.Model, engine: EngineName, lower: set[str]
) -> None:
    compute = Compute(engine=engine)
    tuning = fullfield.tune(model, torch.rand(3, 60, 60), step=4, tolerance=0.5, samples=8, compute=compute)
    assert {t.precision for t in tuning.lower} == lower


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
def test_a_precision_that_an_engine_lacks_is_refused_before_anything_is_planned(model: fullfield.Model) -> None:
    with pytest.raises(ArgumentError, match="onnxruntime does not compute in bfloat16"):
        fullfield.plan(
            model, torch.rand(3, 48, 40), compute=Compute(engine="onnxruntime", precision="bfloat16"), step=4
        )


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_plan_says_how_much_of_the_arithmetic_its_engine_runs(
    model: fullfield.Model, engine: Literal["openvino", "onnxruntime"]
) -> None:
    found = fullfield.plan(model, torch.rand(3, 48, 40), step=4, compute=Compute(engine=engine))
    assert f"{engine}, float32; asked for; it runs 100.0% of the multiply-adds" in str(found.table)
