"""``fullfield.decide``: the decision of a scan whose map is not kept."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import ArgumentError, Compute, DecisionRule, GeometryError, ImageError, Model, Progress, Target
from fullfield.jobs.to_decision import map_bytes
from fullfield.store.encoding import activated
from tests.decisions.brute_force import weighted_mean
from tests.decisions.brute_force import weights as brute_weights
from tests.processes import json_of
from tests.requests import job_of


@pytest.fixture(scope="module")
def net() -> Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return fullfield.load(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).eval(), window=15)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (150, 170, 3), np.uint8)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("how", ["mean", "quantile:0.8", DecisionRule("top-k:9", on="softmax", classes=(3, 1))])
def test_a_decision_is_that_of_the_scan(net: Model, image: np.ndarray, how: Any, temporary: Path) -> None:
    found = fullfield.decide(net, image, how, step=4)
    rule = how if isinstance(how, DecisionRule) else DecisionRule(how)
    wanted = fullfield.scan(net, image, step=4).decide(rule.how, on=rule.on, classes=rule.classes)
    assert found.scores.tobytes() == wanted.scores.tobytes()
    assert (found.windows, found.effective, found.classes) == (wanted.windows, wanted.effective, wanted.classes)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps do not fit a budget beside their scan."""
    monkeypatch.setattr("fullfield.jobs.to_decision.map_bytes", lambda job: 2**60)


@pytest.mark.usefixtures("too_large")
def test_a_map_that_does_not_fit_goes_through_a_folder_that_is_removed(
    net: Model, image: np.ndarray, temporary: Path, tmp_path: Path
) -> None:
    seen: set[str] = set()

    def watch(now: Progress) -> None:
        seen.update(path.name for path in temporary.glob("*/*"))

    where = fullfield.Where(region=":120,10:")
    found = fullfield.decide(net, image, "mean", on="softmax", step=2, where=where, progress=watch)
    stored = fullfield.scan(net, image, step=2, where=where, output=tmp_path / "map.zarr")
    assert found.scores.tobytes() == stored.decide("mean", on="softmax").scores.tobytes()
    assert "map.zarr" in seen
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("too_large")
def test_the_folder_is_removed_after_an_interruption(net: Model, image: np.ndarray, temporary: Path) -> None:
    def stop(now: Progress) -> None:
        if now.stage == "deciding":
            assert list(temporary.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.decide(net, image, "mean", progress=stop)
    assert list(temporary.iterdir()) == []


def test_the_budget_decides_whether_a_map_is_kept_in_memory(
    net: Model, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((700, 700, 3), np.uint8)
    work = job_of(net, image, step=1, tile=(20, 20), budget=10**9)
    least = work.plan.memory.total_bytes
    stored: list[bool] = []
    monkeypatch.setattr("fullfield.jobs.to_decision.scan_to_store", lambda *_: stored.append(True) or 1 / 0)
    for budget, fits in ((least + map_bytes(work), True), (least + map_bytes(work) - 1, False)):
        compute = Compute(budget=budget, tile=(20, 20))
        if fits:
            fullfield.decide(net, image, "max", step=1, compute=compute)
        else:
            with pytest.raises(ZeroDivisionError):
                fullfield.decide(net, image, "max", step=1, compute=compute)
    assert stored == [True]


def test_background_is_found_once_and_no_picture_is_left(net: Model, temporary: Path, tmp_path: Path) -> None:
    slide = np.full((200, 300, 3), 240, np.uint8)
    slide[50:150, 100:200] = np.random.default_rng(0).integers(60, 200, (100, 100, 3))
    where = fullfield.Where(skip_background=True)
    found = fullfield.decide(net, slide, "mean", where=where)
    assert found.scores.tobytes() == fullfield.scan(net, slide, where=where).decide("mean").scores.tobytes()
    assert found.windows < 200 * 300


def test_a_target_finds_the_mode(net: Model, image: np.ndarray) -> None:
    found = fullfield.decide(net, image, "mean", mode=Target(tolerance=0.5))
    assert found.windows == fullfield.decide(net, image, "mean").windows


def test_the_plain_mean_is_that_of_the_crops(net: Model, image: np.ndarray) -> None:
    """Class scores at many positions, averaged: the recipe of the CS231n notes."""
    crops = [image[i : i + 15, j : j + 15] for i in range(0, 136, 30) for j in range(0, 156, 30)]
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    wanted = net(pixels.float()).detach().double().mean(dim=0).numpy()
    found = fullfield.decide(net, image, "top-k:100%", step=30)
    assert found.windows == len(crops) == 5 * 6
    assert np.allclose(found.scores, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_tiles_and_shards_change_no_bit(tmp_path: Path) -> None:
    """Of a network of integers, whose scores no order of sums can change."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 5, 3))
    for parameter in layers.parameters():
        nn.init.uniform_(parameter, -3, 3)
        parameter.data.round_()
    net = fullfield.load(layers.eval(), window=13)
    image = np.random.default_rng(1).integers(0, 4, (160, 210, 3)).astype(np.uint8)
    mask = np.random.default_rng(2).random((16, 21)) < 0.4
    where = fullfield.Where(mask=mask.astype(np.uint8))
    found = []
    for k, tile in enumerate([(3, 5), (8, 16), (64, 64)]):
        settings: Any = {"step": 2, "where": where, "compute": Compute(tile=tile)}
        stored = fullfield.scan(net, image, output=tmp_path / f"{k}.zarr", **settings)
        for how in ("mean", "log-sum-exp:0.001", "quantile:0.7", "top-k:30"):
            kept = stored.decide(how).scores.tobytes()
            assert fullfield.decide(net, image, how, **settings).scores.tobytes() == kept
            found.append((how, kept))
    assert len(set(found)) == 4


def check_peak(*case: str) -> None:
    found = json_of(Path(__file__).with_name("decided_peak.py"), *case)
    budget = int(case[1].removesuffix("MB")) * 10**6
    assert 10**6 < found["measured"] <= budget < found["map"], found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded_by_the_budget_and_not_by_the_map() -> None:
    check_peak("1900", "80MB", "mean")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["quantile:0.9", "log-sum-exp"])
def test_the_passes_of_a_decision_keep_to_the_budget(how: str) -> None:
    check_peak("3000", "100MB", how)


def never_scanning(now: Progress) -> None:
    assert now.stage in ("reading the model",)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"how": "avg"}, ArgumentError, "how: 'avg' is not known"),
        ({"on": "probabilities"}, ImageError, "the map holds logits, which become probabilities in two ways"),
        ({"how": DecisionRule("mean", classes="cat")}, ImageError, "class: 'cat'"),
        ({"how": DecisionRule("mean", regions="none.geojson")}, ImageError, "none.geojson: there is no such file"),
        ({"how": DecisionRule("mean"), "on": "softmax"}, ArgumentError, "on: is softmax, and the rule says scores"),
        ({"compute": Compute(rank=0, world=2)}, GeometryError, "world: scores that are decided at once"),
        ({"sizes": 1}, ArgumentError, "decide: has no argument 'sizes'"),
        ({"scales": [1, 0]}, GeometryError, "scales: 0 is no positive number"),
        ({"views": "mirror"}, GeometryError, "views: 'mirror' is not known"),
        ({"mode": ["exact", "exact"]}, GeometryError, "names a mode twice"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_the_scan(
    net: Model, image: np.ndarray, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fullfield.decide(net, image, **arguments, progress=never_scanning)


def test_sizes_views_and_modes_are_decided_as_one(net: Model, image: np.ndarray, temporary: Path) -> None:
    """Against brute force: maps of turned images, turned back and averaged, with weights pixel by pixel."""
    turns: dict[str, Any] = {
        "original": (lambda a: a, lambda a: a),
        "flip-x": (np.fliplr, lambda a: a[:, :, ::-1]),
        "turn-90": (np.rot90, lambda a: np.rot90(a, -1, axes=(1, 2))),
    }
    decision = fullfield.decide(
        net, image, "mean", on="softmax", step=5, scales=[1, 0.6], views=list(turns), mode=("exact", "context")
    )
    values, weights = [], []
    for scale in (1, 0.6):
        place = fullfield.scan(net, image, step=5, scale=scale).placement
        maps = []
        for turn, back in turns.values():
            for mode in ("exact", "context"):
                height, width = ((n - 1) * 5 + 15 for n in place.shape)
                resized = _resized(net, image, scale)[:height, :width]
                array = fullfield.scan(net, np.ascontiguousarray(turn(resized)), step=5, mode=mode).array
                maps.append(activated(np.asarray(back(array), np.float64), "softmax"))
        weight, _ = brute_weights(place, np.ones(place.shape, bool))
        values.append(np.mean(maps, axis=0).reshape(4, -1))
        weights.append(weight.ravel() / (place.scale[0] * place.scale[1]))
    expected = [weighted_mean(band, np.concatenate(weights)) for band in np.concatenate(values, axis=1)]
    np.testing.assert_allclose(decision.scores, expected, rtol=0, atol=1e-6)
    assert decision.combined == {
        "scales": ("1", "0.6"), "views": ("original", "flip-x", "turn-90"), "modes": ("exact", "context"),
    }  # fmt: skip
    assert "scales 1, 0.6, views original, flip-x, turn-90, modes exact, context" in repr(decision)
    assert decision.to_dict()["combined"]["modes"] == ["exact", "context"]
    assert list(temporary.iterdir()) == []


def _resized(net: Model, image: np.ndarray, scale: float) -> np.ndarray:
    """The pixels that a scan at this scale reads."""
    raster = job_of(net, image, step=5, scale=scale).source.image.raster
    return np.asarray(raster.read(0, raster.shape[0], 0, raster.shape[1]))


def test_one_view_is_the_decision_of_the_turned_image(net: Model, image: np.ndarray) -> None:
    pixels = image[:145, :165]  # windows reach all of it
    found = fullfield.decide(net, pixels, "quantile:0.7", step=10, views="flip-y")
    wanted = fullfield.decide(net, np.ascontiguousarray(pixels[::-1]), "quantile:0.7", step=10)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-6)
    assert found.combined == {"views": ("flip-y",)}
    assert "views flip-y" in repr(found)
    assert "8 views" in repr(fullfield.decide(net, pixels, step=20, views="all"))


def test_a_targets_mode_is_that_of_all_scans(net: Model, image: np.ndarray) -> None:
    found = fullfield.decide(net, image, step=10, mode=Target(tolerance=1.0), scales=[1, 0.5])
    assert found.combined == {"scales": ("1", "0.5")}


def test_sizes_are_refused_before_the_first_scan(net: Model, image: np.ndarray) -> None:
    stages: list[str] = []
    with pytest.raises(ImageError, match="smaller than the window of 15x15 px"):
        fullfield.decide(net, image, scales=[1, 0.05], progress=lambda now: stages.append(now.stage))
    assert "scanning" not in stages
    with pytest.raises(GeometryError, match="quarter turns need square windows"):
        fullfield.decide(
            fullfield.load(nn.Sequential(nn.Conv2d(3, 2, (3, 5)), nn.Flatten()), window=(3, 5)), image, views="all"
        )
