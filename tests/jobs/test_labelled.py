"""Accuracy of modes on the user's labels: of all labelled windows as in an evaluation, of a sample within its noise."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import fullfield
from fullfield import Labels
from fullfield.decisions.evaluation.tally import PredictionRule
from fullfield.errors import ImageError
from fullfield.jobs.labelled import LabelledTiles, draw_labelled
from fullfield.planning import Plan, Tile
from fullfield.store.maps import MapSpec
from tests.api.test_tune import padded, photo
from tests.decisions.evaluation.maps import geojson, pixels_of, placed, point
from tests.oracle import captured

CLASSES = 3


class Grid:
    """The part of a plan that a draw reads."""

    tile = (2, 2)
    tile_at = Plan.tile_at

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape


def spec_of(rows: int, columns: int) -> MapSpec:
    place = placed(rows, columns)
    return MapSpec((CLASSES, rows, columns), "float32", (rows, columns), place, classes=tuple(range(CLASSES)))


def drawn(truth: NDArray[np.integer], samples: int, seed: int = 0) -> LabelledTiles:
    spec = spec_of(*truth.shape)
    plan: Plan = Grid(truth.shape)  # type: ignore[assignment]
    return draw_labelled(Labels(pixels_of(truth, spec.placement), rename={99: None}), spec, plan, samples, seed)


def at(tiles: tuple[Tile, ...], values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values of the windows of tiles, one after the other. Shape: ``(..., y, x)`` -> ``(windows, ...)``"""
    parts = (values[..., t.row : t.row + t.rows, t.column : t.column + t.columns] for t in tiles)
    return np.concatenate([part.reshape(*values.shape[:-2], -1).T for part in parts])


def truth_and_scores(
    seed: int, rows: int = 41, columns: int = 53
) -> tuple[NDArray[np.integer], NDArray[np.float64], NDArray[np.float64]]:
    """Labels of which one is rare, and two kinds of scores that are right more often than not."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random((rows, columns)) < 0.04, 2, (np.arange(columns) > 30).astype(int)[None])
    hot = (np.arange(CLASSES)[:, None, None] == truth).astype(float)
    crops = hot + rng.standard_normal((CLASSES, rows, columns))
    return truth, crops, crops + 0.5 * rng.standard_normal(crops.shape)


def test_of_all_labelled_windows_the_figures_are_those_of_an_evaluation() -> None:
    truth, crops, scores = truth_and_scores(0)
    truth[:, :7] = 99
    sample = drawn(truth, 100_000)
    labelled = truth != 99
    assert sample.samples == sample.labelled == labelled.sum()
    found = sample.figures(at(sample.tiles, scores), at(sample.tiles, crops))
    right, level = (each.argmax(axis=0)[labelled] == truth[labelled] for each in (scores, crops))
    assert found.accuracy == pytest.approx(right.mean(), abs=1e-12)
    assert found.change == pytest.approx(right.mean() - level.mean(), abs=1e-12)
    assert found.between == (found.accuracy, found.accuracy)
    assert found.change_between == (found.change, found.change)
    hot = np.eye(CLASSES)[truth[labelled]]
    assert found.auc == pytest.approx(roc_auc_score(hot, scores[:, labelled].T, average="macro"), abs=1e-12)
    recalls = [right[truth[labelled] == k].mean() for k in range(CLASSES)]
    assert found.balanced == pytest.approx(np.mean(recalls), abs=1e-12)


def test_samples_are_off_by_more_than_their_noise_in_few_draws() -> None:
    truth, crops, scores = truth_and_scores(1)
    right = (scores.argmax(axis=0) == truth).mean()
    change = right - (crops.argmax(axis=0) == truth).mean()
    missed = np.zeros(2)
    for seed in range(200):
        sample = drawn(truth, 90, seed)
        assert 90 <= sample.samples < 110
        found = sample.figures(at(sample.tiles, scores), at(sample.tiles, crops))
        intervals = (right, found.between), (change, found.change_between)
        missed += [not low <= true <= high for true, (low, high) in intervals]
        assert found.between[0] <= found.accuracy <= found.between[1] <= 1
    assert (missed <= 16).all()  # of 200, of which one in twenty may be
    assert found.between[1] - found.between[0] < 0.3


def test_a_sample_without_an_error_is_no_proof() -> None:
    truth = truth_and_scores(2)[0]
    sample = drawn(truth, 60)
    perfect = at(sample.tiles, (np.arange(CLASSES)[:, None, None] == truth).astype(float))
    found = sample.figures(perfect, perfect)
    assert (found.accuracy, found.change) == (1, 0)
    assert 0.7 < found.between[0] < 0.97
    assert found.between[1] == 1
    assert -0.3 < found.change_between[0] < -0.03 < 0.03 < found.change_between[1] < 0.3
    assert found.like_crops


def test_a_rare_label_is_among_the_windows_drawn() -> None:
    truth = np.zeros((40, 50), int)
    truth[7, 9] = 2
    sample = drawn(truth, 20)
    assert Tile(6, 8, 2, 2) in sample.tiles
    wrong = np.zeros((len(sample.tiles) * 4, CLASSES))
    found = sample.figures(wrong, wrong)
    assert found.balanced == 0.5
    assert found.accuracy == pytest.approx(1 - 1 / 2000)
    assert isinstance(sample.rule, PredictionRule)


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    return captured(padded(), 32, channels=1).with_preprocessing("unit-grey")


def test_tuning_measures_each_mode_on_all_labelled_points(net: fullfield.Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((15, 15), (75, 95), (12, 2))
    path = geojson(tmp_path / "p.geojson", *((point(y, x), {"class": k % 3}) for k, (y, x) in enumerate(points)))
    found = fullfield.tune(net, photo(), step=2, samples=64, labels=path)
    assert found.labelled == (12, 12)
    for mode in ("context", "exact"):
        (candidate,) = (each for each in found.candidates if each.mode == mode)
        whole = fullfield.evaluate(fullfield.scan(net, photo(), step=2, mode=mode), path)
        assert candidate.labels is not None
        assert candidate.labels.accuracy == pytest.approx(whole.accuracy, abs=1e-12)
        assert candidate.labels.auc == pytest.approx(whole.auc, abs=1e-12)
    assert found.crop_labels is not None
    assert found.crop_labels.accuracy == pytest.approx(whole.accuracy, abs=1e-12)
    lines = str(found).splitlines()
    assert lines[1] == "12 of 12 labelled windows sampled too"
    assert "  accuracy  less the crops'    AUC" in str(found)
    assert any(line.startswith("On the labels ") for line in lines)
    facts = found.to_dict()
    assert facts["candidates"][-1]["labels"]["change"] == 0
    assert facts["labelled"] == (12, 12)


def test_tuning_measures_a_sample_of_labelled_areas(net: fullfield.Model) -> None:
    raster = np.zeros((90, 110), np.uint8)
    raster[:, 50:] = 1
    found = fullfield.tune(net, photo(), step=2, samples=24, labels=Labels(raster), tolerance=1e9)
    assert found.labelled is not None
    assert 24 <= found.labelled[0] < 40 < found.labelled[1]
    for candidate in found.candidates:
        assert candidate.labels is not None
        low, high = candidate.labels.between
        assert 0 <= low < candidate.labels.accuracy < high <= 1
    assert found.as_accurate is not None


def test_labels_that_cannot_be_used_are_one_error_before_anything_is_measured(
    net: fullfield.Model, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    path.write_text("y,x,class\n40,40,cat\n")
    with pytest.raises(ImageError, match="label 'cat' is no class"):
        fullfield.tune(net, photo(), step=2, samples=8, labels=path)
    with pytest.raises(ImageError, match="labels: label no window that is scanned"):
        fullfield.tune(net, photo(), step=2, samples=8, labels=np.full((90, 110), np.nan))
    mask = np.zeros((90, 110), np.uint8)
    mask[:40, :40] = 1
    path.write_text("y,x,class\n70,90,1\n")
    with pytest.raises(ImageError, match="labels: label no window that is scanned"):
        fullfield.tune(net, photo(), step=2, samples=8, labels=path, where=fullfield.Where(mask=mask))
