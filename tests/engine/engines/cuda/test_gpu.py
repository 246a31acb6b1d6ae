"""Scans on a GPU: equal to crops, the same bits each time, within their memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import BudgetError, Compute
from fullfield.engine.engines.torch import TorchEngine
from fullfield.jobs.in_memory import compute_scores
from tests.architectures import build
from tests.requests import job_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch reaches no GPU through CUDA"),
]
PRECISIONS = {"float32": 1e-5, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}


@pytest.fixture(scope="module")
def model() -> fullfield.Model:
    module, window = build("resnet18")
    return fullfield.load(module.float(), window=window)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, 300, 280, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _a_device_of_which_nothing_is_left() -> Iterator[None]:
    yield
    torch.cuda.empty_cache()


@pytest.mark.parametrize("mode", ["exact", "context", 2])
@pytest.mark.parametrize(("precision", "bound"), PRECISIONS.items())
def test_scores_are_those_of_float64_up_to_the_rounding_of_the_precision(
    precision: str, bound: float, mode: str | int, model: fullfield.Model, image: torch.Tensor
) -> None:
    """float32 is not TF32: its bound is a hundredth of what TF32 rounds off."""
    asked = {"step": 8, "mode": mode}
    expected = fullfield.scan(model.to(torch.float64), image.double(), **asked, compute=Compute(tile=4)).array
    compute = Compute(device="cuda:0", precision=precision, tile=4)  # type: ignore[arg-type]
    found = fullfield.scan(model, image, **asked, compute=compute).array
    assert np.abs(found - expected).max() <= bound * np.ptp(expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_scans_have_the_same_bits(precision: str, model: fullfield.Model, image: torch.Tensor) -> None:
    compute = Compute(device="cuda:0", precision=precision, tile=3)  # type: ignore[arg-type]
    one, other = (fullfield.scan(model, image, step=8, compute=compute).array for _ in range(2))
    assert (one == other).all()


def test_a_scan_is_verified_with_crops_of_its_own_precision(model: fullfield.Model, image: torch.Tensor) -> None:
    plain = fullfield.scan(model, image, step=8, compute=Compute(device="cuda:0"), verify=16)
    lower = fullfield.scan(model, image, step=8, compute=Compute(device="cuda:0", precision="bfloat16"), verify=16)
    assert plain.certificate is not None
    assert plain.certificate.verdict == "EXACT"
    assert lower.certificate is not None
    assert lower.certificate.verdict.startswith("BFLOAT16: differs by ")


def test_kinds_of_tiles_that_come_again_run_as_graphs(model: fullfield.Model, image: torch.Tensor) -> None:
    job = job_of(model, image, step=8, tile=2, device="cuda:0")
    compute_scores(job)
    assert isinstance(job.engine, TorchEngine)
    assert job.engine.on_gpu is not None
    graphs = list(job.engine.on_gpu.graphs.values())
    assert any(graph.is_captured for graph in graphs)
    assert [graph.refused for graph in graphs if graph.refused] == []


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_the_device_takes_no_more_than_the_budget(
    precision: str | None, model: fullfield.Model, image: torch.Tensor
) -> None:
    job = job_of(model, image, step=8, device="cuda:0", precision=precision, budget="600MB")
    engine = job.engine
    weights = sum(t.nbytes for t in job.prepared.canonical.graph.state_dict().values())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    compute_scores(job)
    assert engine is job.engine
    assert torch.cuda.max_memory_allocated() - before <= 600e6 + 2 * weights  # which the budget leaves out


def test_settings_of_torch_are_given_back(model: fullfield.Model, image: torch.Tensor) -> None:
    def current() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic  # type: ignore[attr-defined]

    before = current()
    fullfield.scan(model, image, step=8, compute=Compute(device="cuda:0", tile=3))
    assert current() == before


def test_a_device_out_of_memory_names_budget_and_tile() -> None:
    wide = fullfield.load(nn.Sequential(nn.Conv2d(3, 512, 3), nn.ReLU(), nn.Conv2d(512, 2, 30)).eval(), window=32)
    wide = wide.on("cuda:0")
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(0.3e9 / total)
    try:
        with pytest.raises(BudgetError, match="out of memory") as error:
            fullfield.scan(wide, torch.rand(3, 700, 700), step=1, compute=Compute(budget=free // 2, tile=600))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "--budget" in error.value.fix
    assert "--tile" in error.value.fix
