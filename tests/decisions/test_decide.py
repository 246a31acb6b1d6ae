"""Decisions of maps against brute force, and the same bits in memory, on disk and however the map is cut."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield import Decision, Scores, open_scores
from fullfield.errors import ArgumentError, ImageError
from fullfield.geometry.placement import Placement
from fullfield.store.array_map import ArrayMap
from fullfield.store.encoding import activated
from tests.decisions.brute_force import top_mean, weighted_mean, weighted_quantile
from tests.decisions.brute_force import weights as brute_weights
from tests.store.maps import place, spec_of, stored

ALL = ["mean", "max", "log-sum-exp", "log-sum-exp:3", "top-k:7", "top-k:20%", "quantile:0.3", "quantile:1"]


def logits(bands: int = 3, rows: int = 90, columns: int = 130, *, masked: bool = True) -> np.ndarray:
    """Float32, with cells without a score, and with NaN in one class alone."""
    rng = np.random.default_rng(bands)
    array = (3 * rng.standard_normal((bands, rows, columns))).astype(np.float32)
    if masked:
        y, x = np.indices((rows, columns))
        array[:, (y - 40) ** 2 + (x - 60) ** 2 > 50**2] = np.nan
        array[0, 40:43, 60:70] = np.nan
    return array


def in_memory(array: np.ndarray, **fields: Any) -> Scores:
    return Scores(ArrayMap(array, spec_of(array, **fields)))


def weights_of(array: np.ndarray, where: Placement | None = None) -> np.ndarray:
    """The brute force's weights, in the multiples that decisions use."""
    where = where or place(*array.shape[1:])
    found, _ = brute_weights(where, ~np.isnan(array).all(axis=0))
    unit = 52 - (where.window[0] * where.window[1]).bit_length()
    return np.ldexp(np.rint(np.ldexp(found, unit)), -unit)


def test_a_full_map_is_decided_as_by_brute_force_to_the_last_bit() -> None:
    """Steps that divide the window keep the weights of the brute force, up to their last unit."""
    array = logits(masked=False)
    scores, weight = in_memory(array), weights_of(array)
    mean = scores.decide("mean").scores
    assert np.allclose(mean, [weighted_mean(band, weight) for band in array], rtol=1e-12, atol=0)
    assert np.array_equal(scores.decide("max").scores, array.max(axis=(1, 2)))
    assert scores.decide("top-k:7").scores.tolist() == [top_mean(band, 7) for band in array]
    assert scores.decide("top-k:20%").scores.tolist() == [top_mean(band, 2340) for band in array]
    for part in (0.0, 0.3, 0.5, 0.77, 1.0):
        wanted = [weighted_quantile(band, weight, part) for band in array]
        assert scores.decide(f"quantile:{part}").scores.tolist() == wanted


def test_a_masked_map_with_nan_is_decided_as_by_brute_force() -> None:
    array = logits()
    scores, weight = in_memory(array), weights_of(array)
    found = scores.decide("mean")
    assert found.windows == int((~np.isnan(array).all(axis=0)).sum())
    assert np.allclose(found.scores, [weighted_mean(band, weight) for band in array], rtol=1e-9, atol=0)
    for beta in (None, 0.5, 3.0):
        how = "log-sum-exp" if beta is None else f"log-sum-exp:{beta}"
        wanted = []
        for band in array.astype(np.float64):
            there = ~np.isnan(band)
            b = math.log(there.sum()) if beta is None else beta
            mean = (weight[there] * np.exp(b * (band[there] - band[there].max()))).sum() / weight[there].sum()
            wanted.append(band[there].max() + math.log(mean) / b)
        assert np.allclose(scores.decide(how).scores, wanted, rtol=1e-9, atol=0)
    assert scores.decide("top-k:9").scores.tolist() == [top_mean(band, 9) for band in array]
    assert scores.decide("quantile:0.4").scores.tolist() == [weighted_quantile(b, weight, 0.4) for b in array]


def test_quantiles_are_those_of_numpy() -> None:
    array = logits(masked=False)[:1]
    weight = weights_of(array)
    for part in (0.1, 0.5, 0.9):
        wanted = np.quantile(array.ravel(), part, weights=weight.ravel(), method="inverted_cdf")
        assert in_memory(array).decide(f"quantile:{part}").scores == [wanted]


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_probabilities_of_logits_are_those_of_the_encoding(function: Any) -> None:
    array = logits()
    array[0, 40:43, 60:70] = 1  # with NaN in one class alone, softmax would leave a window without a score
    turned = activated(array, function)
    direct, of_probabilities = (
        in_memory(array).decide("mean", on=function),
        in_memory(turned, activation=function).decide("mean", on="probabilities"),
    )
    assert np.array_equal(direct.scores, of_probabilities.scores)
    noisy = in_memory(array).decide("noisy-or", on=function).scores
    kept = [band[~np.isnan(band)] for band in turned]
    assert np.allclose(noisy, [1 - np.prod(1 - band) for band in kept], rtol=1e-12)


def test_a_temperature_divides_the_logits() -> None:
    array = logits()
    half = in_memory(array).decide("mean", on="softmax", temperature=2.0)
    assert np.array_equal(half.scores, in_memory(array / np.float32(2)).decide("mean", on="softmax").scores)
    assert half.temperature == 2.0
    logs = np.log(activated(logits(masked=False), "softmax"))
    found = in_memory(logs, provenance={"ends_in": "log_softmax"}).decide("mean", on="softmax", temperature=2.0).scores
    assert np.allclose(found, in_memory(logits(masked=False)).decide("mean", on="softmax", temperature=2.0).scores)


@pytest.mark.parametrize("how", [*ALL, "noisy-or"])
@pytest.mark.parametrize("masked", [True, False])
def test_shards_and_memory_give_the_same_bits(tmp_path: Path, how: str, masked: bool) -> None:
    array = logits(masked=masked)
    whole = Scores(ArrayMap(array, spec_of(array, shard=(2048, 2048))))
    found = []
    for k, shard in enumerate([(64, 48), (16, 100), (30, 130)]):
        stored(tmp_path / f"{k}.zarr", array, ~np.isnan(array).all(axis=0) if k else None, shard=shard)
        found.append(open_scores(tmp_path / f"{k}.zarr"))
    on: Any = "sigmoid" if how == "noisy-or" else "softmax"
    for each in found:
        assert each.decide(how, on=on).scores.tobytes() == whole.decide(how, on=on).scores.tobytes()
        if how != "noisy-or":
            assert each.decide(how).scores.tobytes() == whole.decide(how).scores.tobytes()
        assert each.decide("mean").effective == whole.decide("mean").effective


def test_many_classes_are_read_a_part_at_a_time_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = logits(150, 20, 33)
    array[:100, 5, 5] = np.nan  # the first chunk of classes does not say that this window has a score
    stored(tmp_path / "map.zarr", array, shard=(16, 16))
    held = in_memory(array).decide("mean", on="softmax", classes=[149, 3])
    assert held.windows == int((~np.isnan(array).all(axis=0)).sum())
    monkeypatch.setattr("fullfield.decisions.values._HELD", 1)
    read_again = open_scores(tmp_path / "map.zarr").decide("mean", on="softmax", classes=[149, 3])
    assert np.array_equal(held.scores, read_again.scores)
    assert read_again.classes == (149, 3)


def test_selection_ends_by_bins_alone_with_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    array = logits()
    hows = ["top-k:7", "top-k:50%", "quantile:0.3", "quantile:0.99"]
    sorted_ = [in_memory(array).decide(how).scores.tobytes() for how in hows]
    monkeypatch.setattr("fullfield.decisions.selection._SORTED", 0)
    assert [in_memory(array).decide(how).scores.tobytes() for how in hows] == sorted_


def test_bytes_are_decided_as_the_scores_that_they_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 255, (2, 70, 60)).astype(np.uint8)
    numbers[:, 10:20, :] = 255
    fields = {"scale": 1 / 254, "offset": 0.0, "activation": "sigmoid", "classes": (4, 1), "class_names": ("d", "a")}
    stored(tmp_path / "map.zarr", numbers, **fields)
    scores = open_scores(tmp_path / "map.zarr")
    weight = weights_of(scores.array)
    found = scores.decide("mean")
    assert np.allclose(found.scores, [weighted_mean(band, weight) for band in scores.array], rtol=1e-9, atol=0)
    assert found.class_names == ("d", "a")
    assert found.classes == (4, 1)
    assert in_memory(numbers, **fields).decide("mean").scores.tobytes() == found.scores.tobytes()
    assert np.array_equal(scores.decide("noisy-or").scores, [1, 1])
    assert scores.decide("max", classes="a").names == ("a",)


def test_labels_are_decided_as_the_share_of_each_class() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (1, 40, 30)).astype(np.uint8)
    labels[0, :5] = 255
    fields: dict[str, Any] = {"kind": "labels", "classes": tuple(range(4)), "class_names": ("a", "b", "c", "d")}
    found = in_memory(labels, **fields).decide("mean")
    ones = np.where(labels == 255, np.nan, labels == np.arange(4)[:, None, None])
    assert np.array_equal(found.scores, in_memory(ones).decide("mean").scores)
    assert found.scores[3] == 0
    assert found.on == "labels"
    with pytest.raises(ImageError, match="labels are no scores"):
        in_memory(labels, **fields).decide("max")


def test_a_class_without_scores_is_nan_and_no_score_at_all_is_an_error() -> None:
    array = logits()
    array[1] = np.nan
    for how in ALL:
        found = in_memory(array).decide(how).scores
        assert np.isnan(found).tolist() == [False, True, False]
    assert np.isnan(in_memory(array).decide("noisy-or", on="sigmoid").scores).tolist() == [False, True, False]
    with pytest.raises(ImageError, match=r"scores: none of the map's 90x130 windows has a score"):
        in_memory(np.full_like(array, np.nan)).decide("mean")


def test_a_class_whose_scores_are_all_nan_cannot_be_decided_on_alone() -> None:
    array = logits()
    array[1] = np.nan
    for arguments in ({"classes": 1}, {"on": "softmax"}):
        with pytest.raises(ImageError, match="score: no class has one"):
            in_memory(array).decide("mean", **arguments)  # type: ignore[arg-type]


def test_classes_and_temperatures_may_be_numbers_of_numpy() -> None:
    scores = in_memory(logits())
    wanted = scores.decide("mean", on="softmax", temperature=2, classes=[1]).scores
    assert scores.decide("mean", on="softmax", temperature=np.float32(2), classes=np.int64(1)).scores == wanted  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"class: 1\.5"):
        scores.decide("mean", classes=1.5)  # type: ignore[arg-type]


def test_windows_outside_of_the_image_weigh_nothing() -> None:
    outside = Placement((10, 10), (10, 10), (20, 10), (20, 10), padding=(0, 20, 0, 0))
    array = np.array([[[1.0], [2.0], [900.0], [5.0]]])
    scores = Scores.from_array(array, outside)
    assert scores.decide("mean").scores == [1.5]
    assert scores.decide("quantile:1").scores == [2.0]
    assert scores.decide("log-sum-exp:5").scores == [-np.inf]  # the greatest score alone would count


def test_one_window_is_its_own_decision() -> None:
    array = np.array([[[0.25]], [[0.75]]])
    for how in [*ALL, "noisy-or"]:
        found = in_memory(array).decide(how)
        assert found.scores.tolist() == pytest.approx([0.25, 0.75], rel=1e-15 if how == "noisy-or" else 0), how
        assert (found.windows, found.effective) == (1, 1.0)


def test_infinite_scores_stay_what_they_are() -> None:
    array = np.zeros((2, 5, 5))
    array[0, 1, 1], array[1] = np.inf, -np.inf
    for how in ("mean", "max", "log-sum-exp", "top-k:3", "quantile:1"):
        assert in_memory(array).decide(how).scores.tolist() == [np.inf, -np.inf], how


def test_noisy_or_says_that_windows_overlap() -> None:
    probabilities = np.full((1, 6, 6), 0.25)
    place_ = Placement((4, 4), (4, 4), (24, 24), (24, 24))
    assert "these overlap: each pixel counts up to 12 times" in in_memory(probabilities).decide("noisy-or").remark
    assert in_memory(probabilities, placement=place_).decide("noisy-or").remark == ""


def test_a_k_beyond_the_windows_takes_all_and_says_so() -> None:
    array = logits(masked=False)[:, :3, :4]
    found = in_memory(array).decide("top-k:100")
    assert found.scores.tolist() == [top_mean(band, 12) for band in array]
    assert found.remark == "12 windows have scores, fewer than top-k:100 takes: all count"


def test_a_decision_is_text_json_and_a_table() -> None:
    found = in_memory(logits(), class_names=("a", "b", "<c>")).decide("mean", on="softmax", temperature=2)
    assert isinstance(found, Decision)
    assert found.top == max(zip(found.scores, found.names, strict=True))[1]
    assert repr(found).startswith(f"Decision({found.top} 0.3")
    assert "mean of softmax at temperature 2, 7468 windows" in repr(found)
    assert "&lt;c&gt;" in found._repr_html_()
    said = found.to_dict()
    assert said["scores"] == found.scores.tolist()
    assert said["windows"] == 7468
    assert in_memory(logits()).decide("mean").top in (0, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"how": "average"}, r"how: 'average' is not known\n  fix: write mean"),
        ({"how": "quantil:0.5"}, r"did you mean quantile"),
        ({"how": "zzz"}, r"fix: write mean, max"),
        ({"how": 3}, r"how: 3 is no text"),
        ({"how": "mean:3"}, r"mean takes no number, '3' is given"),
        ({"how": "top-k"}, r"top-k: nothing is no number of windows"),
        ({"how": "top-k:0"}, r"top-k: 0 is no number of windows"),
        ({"how": "top-k:2.5"}, r"top-k: 2.5 is no number of windows"),
        ({"how": "top-k:nan"}, r"top-k: nan is no number of windows"),
        ({"how": "top-k:0%"}, r"top-k: 0% is no number of windows"),
        ({"how": "top-k:101%"}, r"top-k: 101% is no number of windows"),
        ({"how": "quantile"}, r"quantile: nothing is not from 0 to 1"),
        ({"how": "quantile:1.5"}, r"quantile: 1.5 is not from 0 to 1"),
        ({"how": "quantile:-0.1"}, r"quantile: -0.1 is not from 0 to 1"),
        ({"how": "quantile:x"}, r"how: 'x' of 'quantile:x' is no number"),
        ({"how": "log-sum-exp:0"}, r"log-sum-exp: beta 0 is not positive"),
        ({"how": "mean", "on": "prob"}, r"on: 'prob' is not known\n  fix: use one of scores, logits"),
        ({"how": "noisy-or", "on": "logits"}, r"noisy-or: needs probabilities, on is logits"),
        ({"how": "mean", "on": "softmax", "temperature": -1}, r"temperature: -1 is no positive number"),
        ({"how": "mean", "on": "softmax", "temperature": "hot"}, r"temperature: 'hot' is no positive number"),
        ({"how": "mean", "temperature": 2}, r"temperature: divides logits before softmax or sigmoid, on is scores"),
        ({"how": "mean", "classes": ()}, r"classes: none is given"),
        ({"how": "mean", "classes": (1, 1)}, r"classes: \[1, 1\] names a class twice"),
        ({"how": "mean", "region": "a"}, r"decide: has no argument 'region'\n  fix: did you mean regions"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        in_memory(logits()).decide(**arguments)


@pytest.mark.parametrize(
    ("fields", "arguments", "text"),
    [
        ({}, {"on": "probabilities"}, r"the map holds logits, which become probabilities in two ways"),
        ({}, {"classes": "x"}, r"class: 'x': the classes have no names"),
        ({}, {"how": "noisy-or"}, r"noisy-or: needs probabilities, and the map's scores reach from -"),
        ({"activation": "softmax"}, {"on": "logits"}, r"went through softmax, which cannot be undone"),
        ({"activation": "sigmoid"}, {"on": "softmax"}, r"went through sigmoid: softmax of these is no probability"),
        ({"activation": "sigmoid"}, {"on": "sigmoid", "temperature": 2}, r"divides logits, and the map's scores went"),
        ({"classes": (0, 1, 5)}, {"on": "softmax"}, r"softmax: needs the scores of all classes, the map holds 3"),
        (
            {"provenance": {"settings": {"encoding": {"classes": [0, 1, 2]}}}},
            {"on": "softmax"},
            r"softmax: needs the scores of all classes",
        ),
    ],
)
def test_what_cannot_be_derived_from_a_map_is_refused(fields: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ImageError, match=text):
        in_memory(logits(), **fields).decide(**({"how": "mean"} | arguments))
