"""The temperature of logits against scipy's minimum of their likelihood."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fullfield import ArgumentError, ImageError, Scores, Temperature, fit_temperature
from tests.store.maps import place


def drawn(temperature: float, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that their softmax at that temperature draws."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((count, 4))
    return logits, (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_where_the_likelihood_is_greatest(temperature: float) -> None:
    logits, labels = drawn(temperature)

    def nll(value: float) -> float:
        scaled = logits / value
        logs = scaled - np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1, keepdims=True))
        return float((scaled.max(1, keepdims=True) - logs)[np.arange(len(labels)), labels].mean())

    found = fit_temperature(logits, labels)
    best = minimize_scalar(nll, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-10})
    assert found.value == pytest.approx(best.x, rel=1e-5)
    assert found.value == pytest.approx(temperature, rel=0.3)
    assert found.nll == pytest.approx(best.fun, rel=1e-12)
    assert found.nll_before == pytest.approx(nll(1.0), rel=1e-12)
    assert found.nll <= found.nll_before
    assert found.samples == 400


def test_huge_logits_do_not_overflow() -> None:
    logits, labels = drawn(1.0)
    assert fit_temperature(logits * 1e4, labels).value == pytest.approx(1e4 * fit_temperature(logits, labels).value)


def test_decisions_of_labelled_images_are_fitted_by_name() -> None:
    logits, labels = drawn(2.0, 60)
    names = ("a", "b", "c", "d")
    decisions = [
        Scores.from_array(np.ones((4, 2, 2)) * row[:, None, None], place(2, 2), class_names=names).decide(
            "mean", on="logits"
        )
        for row in logits
    ]
    found = fit_temperature(decisions, [names[k] for k in labels])
    assert found.value == pytest.approx(fit_temperature(logits, labels).value)
    with pytest.raises(ArgumentError, match="is none of the same classes' logits"):
        fit_temperature([decisions[0], Scores.from_array(np.ones((4, 2, 2)), place(2, 2)).decide("mean")], [0, 1])


def test_a_fitted_temperature_is_taken_by_decide_and_told() -> None:
    found = Temperature(2.0, 10, 0.5, 0.75)
    scores = Scores.from_array(np.random.default_rng(0).standard_normal((3, 5, 5)), place(5, 5))
    decided = scores.decide("mean", on="softmax", temperature=found)
    assert np.array_equal(decided.scores, scores.decide("mean", on="softmax", temperature=2.0).scores)
    assert repr(found) == "Temperature(2, 10 samples, negative log-likelihood 0.75 -> 0.5)"


RIGHT = [[3.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("logits", "labels", "error", "text"),
    [
        ([[1.0], [2.0]], [0, 0], ImageError, "logits: of one class have no softmax"),
        ([[1.0, math.nan]], [0], ImageError, "logits: of sample 0, class 1 are nan"),
        ([[1.0, math.inf]], [0], ImageError, "logits: of sample 0, class 1 are inf"),
        (RIGHT, [0, 1], ImageError, "every label has the greatest logit, or almost: the best temperature is 0"),
        (RIGHT, [1, 0], ImageError, "no greater than the others: the best temperature is infinite"),
        ([[1.0, 1.0]], [0], ImageError, "the best temperature is infinite"),
        (RIGHT, [0], ArgumentError, "labels: 1 for 2 samples"),
        (RIGHT, "ab", ArgumentError, "labels: 1 for 2 samples"),
        (RIGHT, [0, 2], ImageError, "class: 2 is not one of the 2 classes"),
        (RIGHT, [0, "cat"], ImageError, "class: 'cat'"),
        ([1.0, 2.0], [0, 1], ArgumentError, r"logits: of shape \(2,\) are not"),
        (["a"], [0], ArgumentError, "logits: are no array of numbers"),
        ([], [], ArgumentError, "logits: of shape"),
    ],
)
def test_what_has_no_temperature_is_refused(logits: Any, labels: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        fit_temperature(logits, labels)


def test_as_many_names_as_classes_are_needed() -> None:
    with pytest.raises(ArgumentError, match="class_names: 1 names for 2 classes"):
        fit_temperature(RIGHT, [0, 1], class_names=["a"])
