"""Scans in several sizes, views and modes: each map against the crops of the view, and scans of turned images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute, Where
from fullfield.errors import FullfieldError, GeometryError
from fullfield.image.views import VIEWS, ImageView, parse_views
from fullfield.jobs import passes as module
from fullfield.jobs.parse_passes import Passes, parse_modes, parse_scales
from fullfield.jobs.passes import prepare_passes, scanned_passes
from fullfield.jobs.request import ScanRequest
from fullfield.store.maps import ScoreMap
from fullfield.store.turned_map import TurnedMap

PIXELS = np.random.default_rng(0).integers(0, 256, (45, 37, 3), dtype=np.uint8)
STEP = 3, 5  # neither divides the 29 or 21 px from the first to the last window of 16 px
WINDOW = 16


@pytest.fixture(scope="module")
def module_() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 64, 4),
    ]  # fmt: skip
    return nn.Sequential(*layers).double().eval()


@pytest.fixture(scope="module")
def model(module_: nn.Module) -> fullfield.Model:
    return fullfield.load(module_, window=WINDOW, preprocessing="unit")


def scanned(model: fullfield.Model, passes: Passes, image: Any = PIXELS, **settings: Any) -> list[list[np.ndarray]]:
    """Scores ``(k, y, x)`` of each size and pass, on the cells of the image."""
    request = ScanRequest.parse(model, image, **{"step": STEP, **settings})
    with scanned_passes(prepare_passes(request, passes)) as sizes:
        return [[whole(scores).copy() for scores in maps] for maps in sizes]


def whole(scores: ScoreMap) -> np.ndarray:
    return scores.read(0, scores.spec.shape[1], 0, scores.spec.shape[2])


def crops(network: nn.Module, view: ImageView, pixels: np.ndarray = PIXELS) -> np.ndarray:
    """The network's scores of the view of every window."""
    rows, columns = ((n - WINDOW) // t + 1 for n, t in zip(pixels.shape, STEP, strict=False))
    found = np.empty((4, rows, columns))
    for i, j in np.ndindex(rows, columns):
        window = pixels[i * STEP[0] :, j * STEP[1] :][:WINDOW, :WINDOW].transpose(2, 0, 1) / 255
        with torch.no_grad():
            found[:, i, j] = network(torch.from_numpy(np.ascontiguousarray(view.apply(window)))[None])[0].numpy()
    return found


def test_each_exact_map_is_that_of_the_crops_of_its_view(module_: nn.Module, model: fullfield.Model) -> None:
    (maps,) = scanned(model, Passes(views=parse_views("all")))
    for view, found in zip(VIEWS.values(), maps, strict=True):
        expected = crops(module_, view)
        assert found.shape == (4, 10, 5)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.ptp(expected))
    assert np.abs(maps[0] - maps[1]).max() > 1e-3


@pytest.mark.parametrize("mode", ["context", 1])
@pytest.mark.parametrize("name", VIEWS)
def test_each_other_map_is_a_scan_of_the_turned_image(name: str, mode: Any, model: fullfield.Model) -> None:
    """Of the part that windows cover: what is beyond the last window is left out of the turned image."""
    view = VIEWS[name]
    ((found,),) = scanned(model, Passes(views=(view,), modes=parse_modes(mode)))
    covered = PIXELS[: 9 * 3 + WINDOW, : 4 * 5 + WINDOW]
    pixels = PIXELS if name == "original" else view.apply(covered.transpose(2, 0, 1)).transpose(1, 2, 0).copy()
    expected = fullfield.scan(model, pixels, step=view.size(STEP), mode=mode).array
    np.testing.assert_allclose(found, view.back(expected), rtol=0, atol=1e-12)


def test_a_step_that_divides_the_image_leaves_nothing_out(model: fullfield.Model) -> None:
    pixels = PIXELS[:40, :36]
    (maps,) = scanned(model, Passes(views=parse_views("flips"), modes=parse_modes("context")), pixels, step=4)
    for view, found in zip(parse_views("flips"), maps, strict=True):
        expected = fullfield.scan(
            model, view.apply(pixels.transpose(2, 0, 1)).transpose(1, 2, 0).copy(), step=4, mode="context"
        )
        np.testing.assert_allclose(found, view.back(expected.array), rtol=0, atol=1e-12)


@pytest.mark.parametrize("edge", ["reflect", "constant"])
def test_windows_beyond_the_edge_are_turned_too(edge: str, module_: nn.Module, model: fullfield.Model) -> None:
    kinds = {"reflect": "reflect", "constant": "constant"}
    (maps,) = scanned(model, Passes(views=parse_views("turns")), where=Where(edge=edge), step=STEP)
    plain = fullfield.scan(model, PIXELS, step=STEP, where=Where(edge=edge))
    np.testing.assert_array_equal(maps[0], plain.array)
    top, bottom, left, right = plain.placement.padding
    padded = np.pad(PIXELS, ((top, bottom), (left, right), (0, 0)), kinds[edge])  # type: ignore[call-overload]
    for view, found in zip(parse_views("turns"), maps, strict=True):
        expected = crops(module_, view, padded)[:, : found.shape[1], : found.shape[2]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.ptp(expected))


def test_a_mask_selects_the_same_windows_in_every_view(
    tmp_path: Path, module_: nn.Module, model: fullfield.Model
) -> None:
    ring = [[[3, 2], [14, 2], [14, 9], [3, 9], [3, 2]]]
    (tmp_path / "m.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": ring}))
    where = Where(mask=tmp_path / "m.geojson", min_coverage=0.1)
    expected = fullfield.scan(model, PIXELS, step=STEP, where=where).valid()
    assert 0 < expected.sum() < expected.size / 2
    (maps,) = scanned(model, Passes(views=parse_views("all"), modes=parse_modes(["exact", "context"])), where=where)
    assert len(maps) == 16
    for view, found in zip(VIEWS.values(), maps, strict=False):
        np.testing.assert_array_equal(~np.isnan(found).any(axis=0), expected)
        np.testing.assert_allclose(found[:, expected], crops(module_, view)[:, expected], rtol=0, atol=1e-9)


def test_maps_that_do_not_fit_are_stored_and_equal(model: fullfield.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes((1.0, 0.75), parse_views("all"), parse_modes(["exact", "context"]))
    expected = scanned(model, passes)
    monkeypatch.setattr(module, "map_bytes", lambda job: 1 << 50)
    request = ScanRequest.parse(model, PIXELS, step=STEP)
    with scanned_passes(prepare_passes(request, passes)) as sizes:
        turned = [scores for maps in sizes for scores in maps if isinstance(scores, TurnedMap)]
        assert len(turned) == 28
        assert all(scores.level(0) is scores for scores in turned)
        for maps, arrays in zip(sizes, expected, strict=True):
            for scores, array in zip(maps, arrays, strict=True):
                np.testing.assert_array_equal(whole(scores), array)
                np.testing.assert_array_equal(scores.read(2, 5, 1, 3, slice(1, 3)), array[1:3, 2:5, 1:3])
                assert scores.valid(2, 5, 1, 3).all()
        path = turned[0].scores.path  # type: ignore[attr-defined]
        assert path.exists()
    assert not path.exists()


def test_a_finished_map_is_not_scanned_again(model: fullfield.Model) -> None:
    passes = Passes((0.5, 1.0), parse_views("flips"), parse_modes(["exact", "context"]))
    every = scanned(model, passes)
    request = ScanRequest.parse(model, PIXELS, step=STEP)
    finished = fullfield.scan(model, PIXELS, step=STEP).map
    prepared = prepare_passes(request, passes, finished=finished)
    assert [len(size.scans) for size in prepared] == [8, 7]
    with scanned_passes(prepared) as sizes:
        assert sizes[1][0] is finished
        for maps, arrays in zip(sizes, every, strict=True):
            for scores, array in zip(maps, arrays, strict=True):
                np.testing.assert_array_equal(whole(scores), array)


def test_sizes_are_scans_at_that_scale(model: fullfield.Model) -> None:
    (half,), (double,) = scanned(model, Passes((0.5, 2.0)), scale=0.9)
    np.testing.assert_array_equal(half, fullfield.scan(model, PIXELS, step=STEP, scale=0.45).array)
    np.testing.assert_array_equal(double, fullfield.scan(model, PIXELS, step=STEP, scale=1.8).array)


def test_progress_is_that_of_all_scans(model: fullfield.Model) -> None:
    seen: list[fullfield.Progress] = []
    request = ScanRequest.parse(model, PIXELS, step=STEP, compute=Compute(tile=4))
    passes = Passes((1.0, 2.0), parse_views("flips"))
    with scanned_passes(prepare_passes(request, passes, seen.append), seen.append) as sizes:
        cells = sum(scores.spec.shape[1] * scores.spec.shape[2] for maps in sizes for scores in maps)
    scanning = [now for now in seen if now.stage == "scanning"]
    assert {now.total for now in scanning} == {cells}
    assert scanning[-1].done == cells
    assert [now.done for now in scanning] == sorted(now.done for now in scanning)
    assert [now.elapsed_s for now in scanning] == sorted(now.elapsed_s for now in scanning)


def test_a_size_without_a_window_is_refused_before_the_first_scan(model: fullfield.Model) -> None:
    request = ScanRequest.parse(model, PIXELS, step=STEP)
    with pytest.raises(FullfieldError, match="smaller than the window of 16x16 px"):
        prepare_passes(request, Passes((1.0, 0.25)))
    shared = ScanRequest.parse(model, PIXELS, step=STEP, compute=Compute(world=2))
    with pytest.raises(GeometryError, match="are not shared by processes"):
        prepare_passes(shared, Passes())


@pytest.mark.parametrize("scales", [[0.0], [1.0, 1.0], [], [-1], ["big"], [float("nan")], [True]])
def test_sizes_that_cannot_be_are_refused(scales: Any) -> None:
    with pytest.raises(GeometryError, match="scales"):
        parse_scales(scales)


def test_modes_are_one_or_several() -> None:
    assert parse_scales(2) == (2.0,)
    assert parse_scales(None) == (1.0,)
    assert [borders.cells for borders in parse_modes(["exact", 2, (1, 4)])] == [None, 2, 1]
    assert len(parse_modes([2, 14])) == 1
    with pytest.raises(GeometryError, match="names a mode twice"):
        parse_modes(["exact", "exact"])
    with pytest.raises(GeometryError, match="is not known"):
        parse_modes(["exact", "nearly"])
