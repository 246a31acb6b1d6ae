"""Scores as stored numbers, number for number."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.api.scores import Scores
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.store.encoding import Encoding, activated, score_encoder
from fullfield.store.maps import decoded
from tests.store.maps import place, spec_of

NAMES = ("cat", "dog", "owl", "cow")
SCORES = (8 * np.random.default_rng(0).standard_normal((4, 9, 11))).astype(np.float32)
VALID = np.random.default_rng(1).random((9, 11)) < 0.7


def spec_for(encoder: Any, block: np.ndarray) -> Any:
    spec = spec_of(block, placement=place(*block.shape[1:]), classes=encoder.classes)
    return type(spec)(**{**vars(spec), **encoder.fields})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scores_are_stored_as_they_are_by_default(dtype: str) -> None:
    scores = SCORES.astype(dtype)
    encoder = score_encoder(Encoding(), classes=4, class_names=NAMES, dtype=dtype)
    block, saturated, nans = encoder.encode(scores)
    assert (encoder.bands, encoder.dtype, encoder.classes, encoder.class_names, saturated, nans) == (
        4, dtype, (0, 1, 2, 3), NAMES, 0, 0,
    )  # fmt: skip
    np.testing.assert_array_equal(block, scores)
    assert block.dtype == dtype


def test_classes_are_stored_in_the_order_they_are_named() -> None:
    encoder = score_encoder(Encoding(classes=("owl", 0)), classes=4, class_names=NAMES)
    assert (encoder.classes, encoder.class_names, encoder.bands) == ((2, 0), ("owl", "cat"), 2)
    np.testing.assert_array_equal(encoder.encode(SCORES).block, SCORES[[2, 0]])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_those_of_all_classes_whatever_is_stored(activation: Any) -> None:
    encoder = score_encoder(Encoding(classes=(3,), activation=activation), classes=4)
    whole = Scores.from_array(SCORES, Placement((1, 1), (1, 1), (9, 11), (9, 11)))
    np.testing.assert_array_equal(encoder.encode(SCORES).block[0], whole.class_map(3, activation))
    every = score_encoder(Encoding(activation=activation), classes=4).encode(SCORES).block
    np.testing.assert_array_equal(every[3], encoder.encode(SCORES).block[0])


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    found = activated(np.array([[1e30, 0], [-1e30, -1e4]], np.float32), "softmax")
    np.testing.assert_array_equal(found, [[1, 1], [0, 0]])
    assert np.isnan(activated(np.array([[np.inf], [np.nan]]), "softmax")).all()


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=50), st.floats(-20, 0), st.floats(0.1, 20))
def test_bytes_are_the_nearest_of_255_values(values: list[float], low: float, high: float) -> None:
    scores = np.array(values, np.float32)[None, None]
    encoder = score_encoder(Encoding(dtype="uint8", range=(low, high)), classes=1)
    block, saturated, _ = encoder.encode(scores)
    grid = low + (high - low) / 254 * np.arange(255)
    nearest = np.abs(scores[..., None].astype(np.float64) - grid).argmin(axis=-1)
    away = np.abs(scores - grid[block]), np.abs(scores - grid[nearest])
    np.testing.assert_allclose(away[0], away[1], atol=1e-12 * (high - low))  # halves may go either way
    assert saturated == sum(np.rint((float(v) - low) / encoder.scale) not in range(255) for v in scores.ravel())
    assert block.max() <= 254


def test_probabilities_in_bytes_come_back_within_half_a_step() -> None:
    encoder = score_encoder(Encoding(dtype="uint8", activation="softmax"), classes=4)
    block = encoder.encode(SCORES).block
    assert (encoder.scale, encoder.offset, encoder.fill) == (1 / 254, 0, 255)
    back = decoded(block, spec_for(encoder, block))
    assert np.abs(back - activated(SCORES, "softmax")).max() <= 0.5 / 254 + 1e-7


def test_the_ends_of_the_range_are_0_and_254_and_what_lies_beyond_is_counted() -> None:
    encoder = score_encoder(Encoding(dtype="uint8", range=(-2, 6)), classes=1)
    scores = np.array([[[-2, 6, 2, -3, 7, np.inf, -np.inf, np.nan]]], np.float32)
    block, saturated, nans = encoder.encode(scores)
    assert block.tolist() == [[[0, 254, 127, 0, 254, 254, 0, 255]]]
    assert (saturated, nans) == (4, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_scores_too_large_for_a_float_become_infinite_and_are_counted(dtype: Any) -> None:
    encoder = score_encoder(Encoding(dtype=dtype), classes=1, dtype="float64")
    block, saturated, nans = encoder.encode(np.array([[[1e300, -1e300, np.inf, np.nan, 3]]]))
    np.testing.assert_array_equal(block, np.array([[[np.inf, -np.inf, np.inf, np.nan, 3]]], dtype))
    assert (saturated, nans) == (2, 1)


@pytest.mark.parametrize(("classes", "dtype", "fill"), [(255, "uint8", 255), (256, "uint16", 65535)])
def test_labels_take_the_type_that_leaves_a_number_for_none(classes: int, dtype: str, fill: int) -> None:
    encoder = score_encoder(Encoding(labels=True), classes=classes)
    scores = np.random.default_rng(0).standard_normal((classes, 5, 40)).astype(np.float32)
    scores[-1, 0] = 100
    scores[0, 1, 3] = np.nan
    block, _, nans = encoder.encode(scores)
    assert (encoder.kind, encoder.bands, encoder.dtype, encoder.fill, nans) == ("labels", 1, dtype, fill, 1)
    wanted = scores.argmax(axis=0)
    wanted[1, 3] = fill
    np.testing.assert_array_equal(block[0], wanted)
    assert block.dtype == dtype


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(),
        Encoding(dtype="float16"),
        Encoding(dtype="uint8", activation="sigmoid"),
        Encoding(labels=True),
        Encoding(classes=(1,)),
    ],
)
def test_cells_without_scores_hold_the_fill_value_and_are_not_counted(encoding: Encoding) -> None:
    scores = SCORES.copy()
    scores[:, ~VALID] = np.nan
    scores[1, 0, :] = np.where(VALID[0], np.nan, 1e30)
    encoder = score_encoder(encoding, classes=4)
    block, saturated, nans = encoder.encode(scores, VALID)
    missing = block[:, ~VALID]
    np.testing.assert_array_equal(missing, encoder.empty(9, 11)[:, ~VALID])
    assert np.isnan(missing).all() if block.dtype.kind == "f" else (missing == encoder.fill).all()
    np.testing.assert_array_equal(block[:, VALID], encoder.encode(scores).block[:, VALID])
    assert (saturated, nans) == (0, int(VALID[0].sum()))


@pytest.mark.parametrize(
    ("encoding", "what"),
    [
        (Encoding(dtype="uint8"), r"dtype: uint8 needs to know .*\n  fix: store probabilities"),
        (Encoding(dtype="uint8", range=(1, 1)), "is no range of scores"),
        (Encoding(dtype="uint8", range=(0, math.inf)), "is no range of scores"),
        (Encoding(range=(0, 1)), "applies to uint8, dtype is None"),
        (Encoding(dtype="int8"), "scores cannot be stored as 'int8'"),  # type: ignore[arg-type]
        (Encoding(activation="relu"), "'relu' is not known"),  # type: ignore[arg-type]
        (Encoding(labels=True, classes=(1,), dtype="uint8"), "labels: .* takes no classes or dtype"),
        (Encoding(classes=(1, "dog")), "names a class twice"),
        (Encoding(classes=()), "none is given"),
        (Encoding(classes=("wolf",)), "'wolf' is not one of the 4 classes"),
        (Encoding(classes=(4,)), "4 is not one of the 4 classes"),
    ],
)
def test_options_that_exclude_each_other_are_refused(encoding: Encoding, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        score_encoder(encoding, classes=4, class_names=NAMES)


def test_more_classes_than_16_bits_tell_apart_have_no_labels() -> None:
    assert score_encoder(Encoding(labels=True), classes=65535).fill == 65535
    with pytest.raises(ImageError, match="65536 classes"):
        score_encoder(Encoding(labels=True), classes=65536)
