"""What is kept of the scores: which classes, as what, in how many bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.store.classes import find_class
from fullfield.store.maps import Activation, Kind

_LEVELS = 254  # of uint8: 255 stands for no score
_AT_ONCE = 1 << 16  # scores that are encoded together, in whole rows: bounds the memory, and fits a cache


@dataclass(frozen=True)
class Encoding:
    """What a user wants of the scores.

    Args:
        classes: by index or name, in this order; all where ``None``.
        argmax: the index of the top class of all, and no scores.
        activation: ``softmax``, over all classes whatever is kept, or ``sigmoid``.
        dtype: of the stored numbers; the network's where ``None``. Labels choose their own.
        range: scores stored as 0 and 254 in ``uint8``; with an activation 0 and 1 where not given.
    """

    classes: tuple[int | str, ...] | None = None
    argmax: bool = False
    activation: Activation | None = None
    dtype: Literal["float32", "float16", "uint8"] | None = None
    range: tuple[float, float] | None = None


class Encoded(NamedTuple):
    """A block as it is stored.

    Args:
        block: stored numbers ``(bands, y, x)``.
        saturated: scores beyond what the type holds: its nearest number in ``uint8``, infinite in floats.
        nans: scores that are NaN where a cell is valid; of labels, cells with one among their scores.
    """

    block: NDArray[Any]
    saturated: int
    nans: int


@dataclass(frozen=True)
class ScoreEncoder:
    """How scores become stored numbers; ``fields`` go into a ``MapSpec``.

    Args:
        of: classes of the network.
        classes: index of every band's class; of labels, all.
        class_names: one a class kept, or none.
        kind, dtype, activation, scale, offset, fill: as of ``MapSpec``.
    """

    of: int
    classes: tuple[int, ...]
    class_names: tuple[str, ...] | None
    kind: Kind
    dtype: str
    activation: Activation | None
    scale: float
    offset: float
    fill: float

    @property
    def bands(self) -> int:
        """Of the stored map."""
        return 1 if self.kind == "labels" else len(self.classes)

    @property
    def fields(self) -> dict[str, Any]:
        """What of a ``MapSpec`` this decides, beside the number of bands."""
        names = ("classes", "class_names", "kind", "dtype", "activation", "scale", "offset", "fill")
        return {name: getattr(self, name) for name in names}

    def empty(self, rows: int, columns: int) -> NDArray[Any]:
        """A block ``(bands, rows, columns)`` of stored numbers that holds no scores."""
        return np.full((self.bands, rows, columns), self.fill, self.dtype)

    def encode(self, scores: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> Encoded:
        """Stored numbers of a block; beside the result, some rows of it are in memory at a time.

        Args:
            scores: ``(k, y, x)`` of all classes, as the network gives them.
            valid: which cells ``(y, x)`` hold scores; the others become ``fill`` and are not counted.
        """
        assert scores.shape[0] == self.of, f"{scores.shape[0]} classes, {self.of} were promised"
        block = np.empty((self.bands, *scores.shape[1:]), self.dtype)
        saturated = nans = 0
        step = max(1, _AT_ONCE // (self.of * scores.shape[2]))
        for i in range(0, scores.shape[1], step):
            rows = slice(i, i + step)
            there = None if valid is None else valid[rows]
            part = (_top if self.kind == "labels" else _stored)(scores[:, rows], self, there)
            block[:, rows] = part.block
            saturated += part.saturated
            nans += part.nans
        if valid is not None:
            block[:, ~valid] = self.fill
        return Encoded(block, saturated, nans)


def score_encoder(
    keep: Encoding, *, classes: int, class_names: tuple[str, ...] | None = None, dtype: str = "float32"
) -> ScoreEncoder:
    """How a network's scores are stored.

    Args:
        keep: what is wanted.
        classes: of the network.
        class_names: one each, or none.
        dtype: of its scores.

    Raises:
        ImageError: wishes that exclude each other, no such class, ``uint8`` without a range.

    Examples:
        >>> kept = score_encoder(Encoding(activation="sigmoid", dtype="uint8"), classes=3)
        >>> kept.bands, kept.encode(np.zeros((3, 1, 1), np.float32)).block.ravel()
        (3, array([127, 127, 127], dtype=uint8))
    """
    _check(keep, classes)
    if keep.argmax:
        label = "uint8" if classes <= 255 else "uint16"
        fill = float(np.iinfo(label).max)
        return ScoreEncoder(classes, tuple(range(classes)), class_names, "labels", label, None, 1.0, 0.0, fill)
    chosen = _chosen(keep.classes, classes, class_names)
    names = None if class_names is None else tuple(class_names[index] for index in chosen)
    if keep.dtype != "uint8":
        kind = keep.dtype or dtype
        return ScoreEncoder(classes, chosen, names, "scores", kind, keep.activation, 1.0, 0.0, math.nan)
    low, high = keep.range or (0.0, 1.0)
    scale = (high - low) / _LEVELS
    return ScoreEncoder(classes, chosen, names, "scores", "uint8", keep.activation, scale, low, 255.0)


def activated(scores: NDArray[np.floating], activation: Activation | None) -> NDArray[np.float64]:
    """Probabilities of logits ``(k, …)`` of all classes, in float64; as they are without an activation.

    Softmax is taken relative to the greatest score, so that none overflows; a NaN makes all classes NaN.
    """
    wide = scores.astype(np.float64)
    if activation == "sigmoid":
        found: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * wide))
        return found
    if activation == "softmax":
        with np.errstate(invalid="ignore"):  # infinite scores have no softmax
            raised = np.exp(wide - wide.max(axis=0))
            return np.asarray(raised / raised.sum(axis=0))
    return wide


def _check(keep: Encoding, classes: int) -> None:
    """Raises if wishes exclude each other."""
    wide = keep.range is not None and not (all(map(math.isfinite, keep.range)) and keep.range[0] < keep.range[1])
    if keep.activation not in (None, "softmax", "sigmoid"):
        fault = "activation", f"{keep.activation!r} is not known", "use softmax, sigmoid or None"
    elif keep.dtype not in (None, "float32", "float16", "uint8"):
        fault = "dtype", f"{keep.dtype!r} is none that scores are kept in", "use float32, float16 or uint8"
    elif keep.argmax and (keep.classes or keep.activation or keep.dtype or keep.range):
        given = [n for n in ("classes", "activation", "dtype", "range") if getattr(keep, n) is not None]
        fault = "argmax", f"keeps the index of the top class of all, {', '.join(given)} say otherwise", "leave out one"
    elif keep.argmax and classes > 65535:
        fault = "argmax", f"{classes} classes, an index of 16 bits tells 65535 apart", "keep the scores of some classes"
    elif keep.range is not None and keep.dtype != "uint8":
        fault = "range", f"{keep.range} goes with uint8 only, dtype is {keep.dtype}", "leave it out, or keep uint8"
    elif wide:
        fault = "range", f"{keep.range} is no range of scores", "give the lowest and the highest score, both finite"
    elif keep.dtype == "uint8" and keep.range is None and keep.activation is None:
        fault = (
            "dtype",
            "uint8 needs to know which scores 0 and 254 stand for: these may be any",
            "keep probabilities (softmax or sigmoid), or give the range of the scores",
        )
    else:
        return
    where, what, fix = fault
    raise ImageError(where, what, fix=fix)


def _chosen(wanted: tuple[int | str, ...] | None, classes: int, names: tuple[str, ...] | None) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(classes))
    chosen = tuple(find_class(cls, classes, names or ()) for cls in wanted)
    if not chosen or len(set(chosen)) < len(chosen):
        what = f"{list(wanted)} names a class twice" if chosen else "none is given"
        raise ImageError("classes", what, fix="name each class to keep once")
    return chosen


def _stored(scores: NDArray[np.floating], kept: ScoreEncoder, there: NDArray[np.bool_] | None) -> Encoded:
    """Rows ``(k, y, x)`` as they are stored, counted over their valid cells."""
    values = scores if kept.activation is None else activated(scores, kept.activation)
    if kept.classes != tuple(range(kept.of)):
        values = values[list(kept.classes)]
    nan = np.isnan(values)
    if kept.dtype == "uint8":
        with np.errstate(invalid="ignore"):
            numbers = np.rint((values.astype(np.float64) - kept.offset) / kept.scale)
        beyond = (numbers < 0) | (numbers > _LEVELS)
        numbers = np.where(nan, kept.fill, numbers.clip(0, _LEVELS))
    else:
        with np.errstate(over="ignore"):
            numbers = values.astype(kept.dtype)
        beyond = np.isinf(numbers) & np.isfinite(values)
    if there is not None:
        nan, beyond = nan & there, beyond & there
    return Encoded(numbers, int(beyond.sum()), int(nan.sum()))


def _top(scores: NDArray[np.floating], kept: ScoreEncoder, there: NDArray[np.bool_] | None) -> Encoded:
    """Index of the top class of rows ``(k, y, x)``; none where a score is NaN."""
    nan = np.isnan(scores).any(axis=0)
    best = np.where(nan, int(kept.fill), scores.argmax(axis=0))
    return Encoded(best[None], 0, int((nan if there is None else nan & there).sum()))
