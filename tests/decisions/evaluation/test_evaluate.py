"""Figures of whole maps against scikit-learn's and scipy's; what is undefined, left out and refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

import fullfield
from fullfield import Labels
from fullfield.errors import GeometryError, ImageError
from tests.decisions.evaluation.maps import box, geojson, pixels_of, point, probabilities, scores_of

LEAVE_OUT = {99: None}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stored", [False, True])
def test_all_figures_are_scikit_learns(seed: int, stored: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    array = probabilities(rng, 4, 30, 41)
    truth = np.where(rng.random((30, 41)) < 0.5, array.argmax(axis=0), rng.integers(0, 4, (30, 41)))
    left_out = rng.random((30, 41)) < 0.2
    scores = scores_of(array, provenance={"ends_in": "softmax"})
    pixels = pixels_of(np.where(left_out, 99, truth), scores.placement)
    if stored:
        scores.save(tmp_path / "map.zarr")
        scores = fullfield.open_scores(tmp_path / "map.zarr")
    found = fullfield.evaluate(scores, Labels(pixels, rename=LEAVE_OUT), bins=10)
    y, s = truth[~left_out], array[:, ~left_out].T.astype(np.float64)
    guess = s.argmax(axis=1)
    assert (found.samples, found.unit) == (len(y), "cells")
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, guess), abs=1e-12)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, guess), abs=1e-12)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, guess))
    hot = np.eye(4)[y]
    auc = metrics.roc_auc_score(hot, s.astype(np.float32), average=None)
    ap = metrics.average_precision_score(hot, s.astype(np.float32), average=None)
    assert [each.auc.value for each in found.classes] == pytest.approx(auc, abs=1e-12)
    assert [each.ap.value for each in found.classes] == pytest.approx(ap, abs=1e-12)
    assert (found.auc, found.ap) == (pytest.approx(auc.mean(), abs=1e-12), pytest.approx(ap.mean(), abs=1e-12))
    for name, measure in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("iou", metrics.jaccard_score),
        ("dice", metrics.f1_score),
    ):
        wanted = measure(y, guess, average=None)
        assert [getattr(each, name) for each in found.classes] == pytest.approx(wanted, abs=1e-12), name
    assert found.mean_iou == pytest.approx(metrics.jaccard_score(y, guess, average="macro"), abs=1e-12)
    assert found.ece == pytest.approx(ece(s.max(axis=1), guess == y, 10), abs=1e-12)
    assert found["kind 2"].ece == pytest.approx(ece(s[:, 2], y == 2, 10), abs=1e-12)


def ece(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if m == 1:
            inside |= confidence == 0
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_logits_are_calibrated_and_ranked_as_the_probabilities_asked_for() -> None:
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((3, 20, 20)).astype(np.float32)
    truth = rng.integers(0, 3, (20, 20))
    scores = scores_of(logits)
    labels = Labels(pixels_of(truth, scores.placement), rename=LEAVE_OUT)
    plain, soft = fullfield.evaluate(scores, labels), fullfield.evaluate(scores, labels, activation="softmax")
    assert math.isnan(plain.ece)
    assert any("no probabilities" in remark for remark in plain.remarks)
    wanted = softmax(logits.astype(np.float64), axis=0).reshape(3, -1).T
    assert soft.ece == pytest.approx(ece(wanted.max(axis=1), wanted.argmax(axis=1) == truth.ravel(), 15), abs=1e-6)
    assert soft.auc == pytest.approx(metrics.roc_auc_score(truth.ravel(), wanted, multi_class="ovr"), abs=1e-5)
    assert soft.accuracy == plain.accuracy


def test_a_map_of_one_class_is_compared_with_its_threshold_and_others_are_negatives(tmp_path: Path) -> None:
    array = np.array([[[0.9, 0.2, 0.6, 0.4]]], np.float32)
    scores = scores_of(array, class_names=("tumour",), provenance={"ends_in": "sigmoid"})
    path = tmp_path / "points.csv"
    path.write_text("y,x,class\n6,6,tumour\n6,10,stroma\n6,14,stroma\n6,18,tumour\n")
    labels = Labels(path, rename={"stroma": "other"})
    found = fullfield.evaluate(scores, labels)
    assert found.threshold == 0.5
    assert found.names == ("tumour", "other")
    np.testing.assert_array_equal(found.confusion, [[1, 1], [1, 1]])
    assert found["tumour"].auc.value == 0.75
    assert fullfield.evaluate(scores, labels, threshold=0.3).accuracy == 0.75
    assert fullfield.evaluate(scores_of(array, class_names=("tumour",)), labels).threshold == 0.0


def test_cells_without_a_score_are_left_out_and_counted() -> None:
    array = probabilities(np.random.default_rng(0), 2, 6, 6)
    array[:, 2] = np.nan
    array[1, 3, 3] = np.nan
    scores = scores_of(array)
    found = fullfield.evaluate(scores, Labels(pixels_of(np.ones((6, 6), int), scores.placement), rename=LEAVE_OUT))
    assert (found.samples, found.without_score) == (29, 7)
    assert "Labelled cells without a score, left out: 7." in found.remarks


def test_labels_of_one_class_leave_auc_undefined_and_give_the_rest() -> None:
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 6, 6))
    found = fullfield.evaluate(scores, np.ones(scores.placement.image, np.uint8))
    assert math.isnan(found.auc)
    assert math.isnan(found.ap)
    assert 0 < found.accuracy < 1
    assert any(remark.startswith("AUC and AP of kind 0, kind 1: undefined") for remark in found.remarks)
    assert json.loads(json.dumps(found.to_dict()))["classes"][0]["roc"] is None
    assert '"all",' not in found.to_csv()
    assert found.to_csv().splitlines()[-1].startswith("all,36,36,,,")


def test_a_map_of_labels_is_compared_by_its_top_class(tmp_path: Path) -> None:
    array = probabilities(np.random.default_rng(0), 3, 6, 7)
    scores = scores_of(array)
    scores.save(tmp_path / "top.zarr", labels=True)
    truth = np.random.default_rng(1).integers(0, 3, (6, 7))
    labels = Labels(pixels_of(truth, scores.placement), rename=LEAVE_OUT)
    found = fullfield.evaluate(tmp_path / "top.zarr", labels)
    assert found.accuracy == fullfield.evaluate(scores, labels).accuracy
    assert math.isnan(found.auc)
    assert any("top class alone" in remark for remark in found.remarks)
    with pytest.raises(ImageError, match="threshold: a map of labels has no scores"):
        fullfield.evaluate(tmp_path / "top.zarr", labels, threshold=0.5)


def test_figures_do_not_depend_on_how_the_map_is_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    scores = scores_of(probabilities(rng, 3, 300, 260))
    labels = Labels(
        geojson(tmp_path / "a.geojson", *((box(9 * k, 4 * k, 9 * k + 90, 900), {"class": k % 3}) for k in range(30))),
        outside=0,
    )
    whole = fullfield.evaluate(scores, labels).to_dict()
    monkeypatch.setattr("fullfield.decisions.evaluation.evaluate._NUMBERS", 3 * 256 * 7)
    monkeypatch.setattr("fullfield.decisions.evaluation.froc._CELLS", 260 * 11)
    again = fullfield.evaluate(scores, labels).to_dict()
    assert again == whole


def test_a_figure_shows_every_panel(tmp_path: Path) -> None:
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 20, 20), provenance={"ends_in": "softmax"})
    path = geojson(tmp_path / "p.geojson", (point(30, 30), {"class": "kind 1"}), (point(60, 60), {"class": "kind 0"}))
    found = fullfield.evaluate(scores, path)
    assert found.picture().size == (1560, 1100)
    assert fullfield.evaluate(scores_of(scores.array), np.ones((88, 88))).picture().size == (520, 580)
    assert repr(found).startswith("<Evaluation: 2 labelled points: accuracy")
    assert found._repr_html_().startswith("<pre>2 labelled points")


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"bins": 0}, GeometryError, "bins: 0 is not an integer from 1"),
        ({"bins": 2.5}, GeometryError, "bins: 2.5 is not"),
        ({"threshold": math.nan}, ImageError, "threshold: nan is no number"),
        ({"activation": "relu"}, ImageError, "activation: 'relu' is not known"),
        ({"activation": "sigmoid"}, ImageError, "went through softmax already"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, object], error: type[Exception], text: str) -> None:
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 6, 6), provenance={"ends_in": "softmax"})
    with pytest.raises(error, match=text):
        fullfield.evaluate(scores, np.ones(scores.placement.image, np.uint8), **settings)  # type: ignore[arg-type]


def test_a_map_without_any_score_is_one_error() -> None:
    scores = scores_of(np.full((2, 6, 6), np.nan, np.float32))
    with pytest.raises(ImageError, match="scores: none of the 36 labelled cells has a score: all are NaN"):
        fullfield.evaluate(scores, np.ones(scores.placement.image, np.uint8))


def test_an_unknown_argument_is_refused_with_the_likely_one() -> None:
    scores = scores_of(probabilities(np.random.default_rng(0), 2, 6, 6))
    with pytest.raises(fullfield.ArgumentError, match="did you mean bins"):
        fullfield.evaluate(scores, np.ones((32, 32)), bin=3)  # type: ignore[call-arg]
    with pytest.raises(fullfield.ArgumentError, match="did you mean rename"):
        Labels("x", renam={})  # type: ignore[call-arg]
