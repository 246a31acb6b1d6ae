"""``verify``: the original network on sampled windows beside the scan, and that a wrong score is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import CaptureError, FullfieldError, GeometryError, Scores, Where
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.model.module_graph import example_of, graph_of
from fullfield.verification.crops import sample_cells
from tests.api import networks
from tests.api.networks import WINDOW, Attention, Branches, made, picture
from tests.model.networks import Small
from tests.requests import grouped


def corrupted(scores: Scores, cell: tuple[int, int], by: float = 1.0) -> Scores:
    """The same scores with one of them wrong."""
    array = scores.array.copy()
    array[(2, *cell)] += by * np.ptp(array)
    return Scores(replace(scores.map, array=array))


@pytest.mark.parametrize("make", [networks.unpadded, networks.padded, networks.gated, Branches, Attention])
@pytest.mark.parametrize("options", [{"step": 4}, {"step": (7, 3), "edge": "reflect"}, {"step": 5, "scale": 0.8}])
def test_exact_scans_are_certified(make: Any, options: dict[str, Any]) -> None:
    net = made(make)
    found = fullfield.verify(net, picture(), samples=12, **grouped(options))
    assert found.verdict == "EXACT"
    assert found.mode == "exact"
    assert found.samples == 12
    assert found.relative <= 1e-9
    again = fullfield.verify(net, picture(), scores=fullfield.scan(net, picture(), **grouped(options)), samples=12)
    assert again.verdict == "EXACT"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_types_are_certified_with_their_own_tolerance(dtype: torch.dtype) -> None:
    found = fullfield.verify(made(networks.padded, dtype=dtype), picture(), step=8, samples=9)
    assert found.holds
    assert found.dtype == str(dtype).removeprefix("torch.")


def test_one_wrong_score_at_a_sampled_window_is_found() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(), step=3)
    shape = scores.placement.shape
    for cell in (sample_cells(shape, 10, 5)[3], (0, 0), (shape[0] - 1, shape[1] - 1)):
        found = fullfield.verify(net, picture(), scores=corrupted(scores, cell), samples=10, seed=5)
        assert found.worst == cell
        assert found.verdict.startswith("NOT EXACT: differs by")
        assert not found.holds
        assert found.worst_scores[0] - found.worst_scores[1] == pytest.approx(np.ptp(scores.array))
    tiny = corrupted(scores, (0, 0), by=1e-7)
    assert not fullfield.verify(net, picture(), scores=tiny, samples=4).holds


def test_a_shifted_map_is_found() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(), step=3)
    moved = Scores(replace(scores.map, array=np.roll(scores.array, 1, axis=2)))
    assert not fullfield.verify(net, picture(), scores=moved, samples=4).holds


def by_batch(change: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> Model:
    """A model whose scores depend on the batch, made without the checks of ``load``."""
    torch.manual_seed(0)
    module = Small(change, state=True).double().eval()
    graph = graph_of(module, example_of(module, (3, 12, 12)), lambda error: CaptureError("", str(error), fix=""))
    return Model(graph, (12, 12), 3, 6)


@pytest.mark.parametrize("mode", ["exact", 1])
@pytest.mark.parametrize("samples", [2, 7, 16, 17, 64])
@pytest.mark.parametrize(
    "change",
    [
        lambda m, y: y + m.table[: y.shape[0]],
        lambda m, y: y * y.shape[0],
        lambda m, y: y - y.mean(0),
        lambda m, y: y + y.flip(0),
    ],
)
def test_scores_that_depend_on_the_batch_are_found(change: Any, samples: int, mode: Any) -> None:
    net = by_batch(change)
    found = fullfield.verify(net, picture(), step=4, samples=samples, mode=mode)
    assert found.batch_difference > 1e-6
    assert not found.holds
    assert found.verdict.startswith("NOT EXACT: a crop's scores differ by")


def test_scores_that_depend_on_the_batch_are_found_where_the_scan_has_those_of_crops_alone() -> None:
    net = by_batch(lambda m, y: y + m.table[: y.shape[0]])
    crops = Model(by_batch(lambda m, y: y).graph, (12, 12), 3, 6)
    scores = fullfield.scan(crops, picture(), step=4)
    lone = Scores(replace(scores.map, spec=replace(scores.map.spec, provenance={"settings": {}})))
    assert fullfield.verify(crops, picture(), scores=lone).verdict == "EXACT"
    assert not fullfield.verify(net, picture(), scores=lone).holds


def test_context_says_by_how_much_it_differs() -> None:
    found = fullfield.verify(made(networks.padded), picture(), step=4, mode="context", samples=20)
    assert found.verdict.startswith("CONTEXT: differs by")
    assert "top class agrees at" in found.verdict
    assert found.holds
    same = fullfield.verify(made(networks.unpadded), picture(), step=4, mode="context", samples=20)
    assert same.verdict == "CONTEXT: equal to the crops on this image"


def test_all_windows_can_be_compared() -> None:
    scores = fullfield.scan(made(networks.unpadded), picture(), step=8)
    found = fullfield.verify(made(networks.unpadded), picture(), scores=scores, samples=10**6)
    assert found.samples == found.windows == scores.array[0].size


def test_a_scan_verifies_itself_along_the_way() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(), step=8, verify=6)
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"
    assert scores.certificate.samples == 6
    assert scores.certificate == fullfield.verify(net, picture(), scores=scores, samples=6)


def test_saved_scores_are_verified_with_their_own_settings(tmp_path: Path) -> None:
    net = made(networks.padded)
    fullfield.scan(net, picture(), step=6, where=Where(edge="replicate"), scale=0.9).save(tmp_path / "s.zarr")
    scores = fullfield.open_scores(tmp_path / "s.zarr")
    assert fullfield.verify(net, picture(), scores=scores).verdict == "EXACT"


def test_scores_of_another_image_of_this_size_do_not_hold() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(seed=1), step=8)
    assert not fullfield.verify(net, picture(seed=2), scores=scores).holds


def test_scores_of_another_image_or_network_are_refused() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(), step=8)
    torch.manual_seed(0)
    wider = load(networks.padded().double().eval(), window=(24, 24))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    cases = [
        ("image size", net, picture(51, 61)),
        ("window", wider, picture()),
        ("number of classes", load(module.eval(), window=WINDOW), picture()),
        ("model", made(networks.padded, seed=1), picture()),
    ]
    for name, other, image in cases:
        with pytest.raises(GeometryError, match=name) as caught:
            fullfield.verify(other, image, scores=scores)
        assert caught.value.where == "scores"
        assert "scan again" in caught.value.fix


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "all"])
def test_a_number_of_samples_that_is_none_is_refused(samples: Any) -> None:
    with pytest.raises(FullfieldError, match="not a positive integer") as caught:
        fullfield.verify(made(networks.padded), picture(), samples=samples)
    assert caught.value.where == "samples"


def test_scores_on_disk_are_verified_where_they_lie(tmp_path: Path) -> None:
    net = made(networks.padded)
    fullfield.scan(
        net,
        picture(),
        output=tmp_path / "s.zarr",
        step=6,
        where=Where(region="3:47,5:58"),
        encoding=fullfield.Encoding(classes=(2, 0)),
    )
    found = fullfield.verify(net, picture(), scores=tmp_path / "s.zarr", samples=9)
    assert found.verdict == "EXACT"
    assert found.samples == 9
    other = picture(seed=3)
    assert not fullfield.verify(net, other, scores=fullfield.open_scores(tmp_path / "s.zarr"), samples=9).holds


@pytest.mark.parametrize(
    ("keep", "what"),
    [
        (fullfield.Encoding(labels=True), "labels cannot be compared"),
        (fullfield.Encoding(activation="softmax"), "softmax in float64 cannot be compared"),
        (fullfield.Encoding(dtype="float16"), "scores in float16 cannot be compared"),
    ],
)
def test_what_is_no_longer_the_scores_is_not_verified(tmp_path: Path, keep: fullfield.Encoding, what: str) -> None:
    net = made(networks.padded)
    fullfield.scan(net, picture(), output=tmp_path / "s.zarr", step=8, encoding=keep)
    with pytest.raises(GeometryError, match=what):
        fullfield.verify(net, picture(), scores=tmp_path / "s.zarr")


def test_cells_that_hold_no_scores_are_not_compared() -> None:
    net = made(networks.padded)
    mask = np.zeros((50, 61), bool)
    mask[30:, 40:] = True
    scores = fullfield.scan(net, picture(), step=4, where=Where(mask=mask), verify=12)
    assert 0 < np.isnan(scores.array).all(axis=0).mean() < 1
    assert scores.certificate is not None
    assert scores.certificate.verdict == "EXACT"
