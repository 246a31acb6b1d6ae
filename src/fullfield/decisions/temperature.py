"""Fits the temperature that makes the softmax of logits fit labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_keywords
from fullfield.errors import ArgumentError, ImageError
from fullfield.store.classes import find_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from fullfield.decisions.decision import Decision

_MOST = 1e6  # by which logits may be multiplied or divided
_FIX = "give logits (images, classes) and one label for each image"


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature; as a number where one is expected.

    Args:
        value: logits are divided by it.
        samples: images that it was fitted to.
        nll: their mean negative log-likelihood with it, nats.
        nll_before: without it.
    """

    value: float
    samples: int
    nll: float
    nll_before: float

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return (
            f"Temperature({self.value:.4g}, {self.samples} samples, "
            f"negative log-likelihood {self.nll_before:.4g} -> {self.nll:.4g})"
        )


@checks_keywords
def fit_temperature(
    logits: ArrayLike | Sequence[Decision],
    labels: Sequence[int | str],
    *,
    class_names: Sequence[str] | None = None,
) -> Temperature:
    """The temperature T that makes ``softmax(logits / T)`` most likely to give the labels.

    The mean negative log-likelihood is convex in 1/T; the zero of its slope is found by bisection in float64.

    Args:
        logits: ``(samples, classes)``; or decisions of labelled images that were made ``on="logits"``.
        labels: of each sample its class, by index among the classes, or by name.
        class_names: one for each class, where labels are names; those of the decisions by default.

    Returns:
        What ``temperature=`` of ``decide`` takes.

    Raises:
        ArgumentError: logits and labels that do not fit together.
        ImageError: logits that are not finite, a single class, an unknown label; labels that are all, or no better
            than by chance, the greatest logits, so that no temperature is best.

    Source: Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks, section 4.2, arXiv 1706.04599

    Examples:
        >>> fit_temperature([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], [0, 1, 1]).value  # 2 / log(2)
        2.8853900817779268
    """
    table, names = _table(logits, class_names)
    chosen = _chosen(labels, table, names)
    shifted = table - table.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(chosen)), chosen]

    def slope(inverse: float) -> float:
        """Of the mean negative log-likelihood, by 1/T."""
        raised = np.exp(shifted * inverse)
        return float(((raised * shifted).sum(axis=1) / raised.sum(axis=1) - right).mean())

    low, high = 1.0, 1.0
    while slope(low) >= 0:
        low /= 2
        if low < 1 / _MOST:
            what = "the labels' logits are no greater than the others: the best temperature is infinite"
            raise ImageError("temperature", what, fix="check that labels and classes are in the same order")
    while slope(high) <= 0:
        high *= 2
        if high > _MOST:
            what = "every label has the greatest logit, or almost: the best temperature is 0"
            raise ImageError("temperature", what, fix="fit it on images that the model was not trained on, and on more")
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Temperature(1 / high, len(chosen), _nll(shifted, right, high), _nll(shifted, right, 1.0))


def _nll(shifted: NDArray[np.float64], right: NDArray[np.float64], inverse: float) -> float:
    """The mean negative log-likelihood."""
    return float((np.log(np.exp(shifted * inverse).sum(axis=1)) - right * inverse).mean())


def _table(logits: Any, names: Sequence[str] | None) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Logits ``(samples, classes)``, and the classes' names."""
    given = tuple(names or ())
    if isinstance(logits, (list, tuple)) and logits and hasattr(logits[0], "how"):
        for decision in logits:
            if getattr(decision, "on", None) != "logits" or decision.classes != logits[0].classes:
                what = f"{decision!r:.80} is none of the same classes' logits"
                raise ArgumentError("logits", what, fix='decide all images alike, on="logits"')
        given = given or tuple(logits[0].class_names or ())
        logits = [decision.scores for decision in logits]
    try:
        table = np.asarray(logits, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError("logits", f"are no array of numbers ({error})", fix=_FIX) from None
    if table.ndim != 2 or not table.size:
        raise ArgumentError("logits", f"of shape {table.shape} are not (samples, classes)", fix=_FIX)
    if table.shape[1] == 1:
        raise ImageError("logits", "of one class have no softmax", fix="fit it to logits of two classes or more")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0].tolist()
        what = f"of sample {row}, class {column} are {table[row, column]}"
        raise ImageError("logits", what, fix="leave out samples without scores")
    if given and len(given) != table.shape[1]:
        what = f"{len(given)} names for {table.shape[1]} classes"
        raise ArgumentError("class_names", what, fix="give one name for each class")
    return table, given


def _chosen(labels: Any, table: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.intp]:
    """The column of each sample's label."""
    if isinstance(labels, str) or not hasattr(labels, "__len__") or len(labels) != len(table):
        count = 1 if isinstance(labels, str) or not hasattr(labels, "__len__") else len(labels)
        raise ArgumentError("labels", f"{count} for {len(table)} samples", fix="give one label for each sample")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    return np.array([find_class(label, table.shape[1], names) for label in plain], np.intp)
