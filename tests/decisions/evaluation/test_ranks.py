"""AUC, average precision and their curves against scikit-learn's, with ties, and with more scores than are kept."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from fullfield.decisions.evaluation.ranks import MOST_SCORES, RankTable, rank_tables, thinned
from fullfield.decisions.ordered_bits import from_ordered_bits, ordered_bits


def drawn(seed: int, count: int, dtype: str, decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.3
    scores = rng.standard_normal(count) + positive
    return (scores if decimals is None else np.round(scores, decimals)).astype(dtype), positive


def table(scores: np.ndarray, positive: np.ndarray, parts: int = 1, **fields: int) -> RankTable:
    found = RankTable(np.dtype(scores.dtype), **fields)
    for some, which in zip(np.array_split(scores, parts), np.array_split(positive, parts), strict=True):
        found.add(some, which)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decimals", [None, 2, 0])
@pytest.mark.parametrize("parts", [1, 7])
def test_figures_and_curves_are_scikit_learns(dtype: str, decimals: int | None, parts: int) -> None:
    scores, positive = drawn(decimals or 5, 3000, dtype, decimals)
    ranks = table(scores, positive, parts).ranks()
    assert ranks.exact
    assert ranks.auc() == (pytest.approx(roc_auc_score(positive, scores), abs=1e-12), 0)
    assert ranks.average_precision() == (pytest.approx(average_precision_score(positive, scores), abs=1e-12), 0)
    np.testing.assert_allclose(ranks.roc(), roc_curve(positive, scores, drop_intermediate=False)[:2], atol=1e-12)
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    np.testing.assert_allclose(ranks.precision_recall(), [recall[-2::-1], precision[-2::-1]], atol=1e-12)
    np.testing.assert_array_equal(ranks.scores, thresholds[::-1])


@pytest.mark.parametrize("parts", [1, 10])
@pytest.mark.parametrize("most", [64, 500])
def test_more_scores_than_are_kept_give_figures_within_what_is_said(most: int, parts: int) -> None:
    scores, positive = drawn(1, 20_000, "float32", None)
    ranks = table(scores, positive, parts, most=most).ranks()
    assert not ranks.exact
    assert len(ranks.scores) <= most
    assert (ranks.positives.sum(), ranks.negatives.sum()) == (positive.sum(), (~positive).sum())
    for found, wanted in (
        (ranks.auc(), roc_auc_score(positive, scores)),
        (ranks.average_precision(), average_precision_score(positive, scores)),
    ):
        assert 0 < found.off < 0.2
        assert abs(found.value - wanted) <= found.off


def test_tables_of_many_classes_share_the_memory() -> None:
    assert sum(each.most for each in rank_tables(4, np.dtype("float32"))) == MOST_SCORES == 1 << 20
    assert rank_tables(2, np.dtype("float16"))[0].dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_are_in_the_order_of_the_numbers(dtype: str) -> None:
    numbers = np.array([-np.inf, -2, -1e-40, -0.0, 0.0, 1e-40, 3.5, np.inf], dtype)
    bits = ordered_bits(numbers)
    assert (np.diff(bits.astype(np.float64)) >= 0).all()
    assert len(np.unique(bits)) == len(numbers) - 1
    np.testing.assert_array_equal(from_ordered_bits(bits, np.dtype(dtype)), numbers)


def test_a_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    x = np.linspace(0, 1, 100_000)
    curve = np.stack([x, np.sqrt(x)])
    found = thinned(curve)
    assert found.shape[1] <= 600
    np.testing.assert_array_equal(found[:, [0, -1]], curve[:, [0, -1]])
    assert np.abs(np.interp(x, *found) - curve[1]).max() < 0.005
    assert thinned(found) is not None
    np.testing.assert_array_equal(thinned(curve[:, :100]), curve[:, :100])
