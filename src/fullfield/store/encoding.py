"""Encodes scores as stored numbers: which classes, as scores, probabilities or labels, in which type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_fields
from fullfield.errors import ImageError
from fullfield.store.classes import find_class
from fullfield.store.maps import Activation, MapKind, MapSpec
from fullfield.text import record_text

if TYPE_CHECKING:
    from fullfield.model.final_activation import FinalActivation

_LEVELS = 254  # of uint8; 255 marks cells without a score
_AT_ONCE = 1 << 16  # scores that are encoded together, in whole rows: they fit a cache


@checks_fields
@dataclass(frozen=True)
class Encoding:
    """Which scores are stored, and as what numbers.

    Args:
        classes: by index or name, in this order; ``None`` for all.
        labels: store the index of the top class instead of the scores.
        activation: ``softmax``, always over all classes, or ``sigmoid``; left out where the network ends in it.
        dtype: of the stored numbers; ``None`` for the network's. The type of labels depends on the number of classes.
        range: scores that ``uint8`` stores as 0 and 254; by default 0 and 1 if there is an activation.
    """

    classes: tuple[int | str, ...] | None = None
    labels: bool = False
    activation: Activation | None = None
    dtype: Literal["float32", "float16", "uint8"] | None = None
    range: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return record_text(self)


class Encoded(NamedTuple):
    """A block of stored numbers.

    Args:
        block: stored numbers ``(bands, y, x)``.
        saturated: number of scores outside the type's range; stored as its nearest number in ``uint8``, as infinite in
            floats.
        nans: number of NaN scores in valid cells; of labels, number of valid cells with a NaN score.
    """

    block: NDArray[Any]
    saturated: int
    nans: int


@dataclass(frozen=True)
class ScoreEncoder:
    """Turns scores into stored numbers; ``fields`` go into a ``MapSpec``.

    Args:
        network_classes: number of classes of the network.
        classes: index of each band's class; of labels, all.
        class_names: one for each of ``classes``, or none.
        kind, dtype, activation, scale, offset, fill: as of ``MapSpec``.
    """

    network_classes: int
    classes: tuple[int, ...]
    class_names: tuple[str, ...] | None
    kind: MapKind
    dtype: str
    activation: Activation | None
    scale: float
    offset: float
    fill: float

    @property
    def bands(self) -> int:
        """Number of bands of the stored map."""
        return 1 if self.kind == "labels" else len(self.classes)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ``MapSpec`` that the encoding decides, except for the shape."""
        names = ("classes", "class_names", "kind", "dtype", "activation", "scale", "offset", "fill")
        return {name: getattr(self, name) for name in names}

    def empty(self, rows: int, columns: int) -> NDArray[Any]:
        """A block ``(bands, rows, columns)`` of stored numbers that holds no scores."""
        return np.full((self.bands, rows, columns), self.fill, self.dtype)

    def encode(self, scores: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> Encoded:
        """Stored numbers of a block; besides the result, a few rows are in memory at a time.

        Args:
            scores: ``(k, y, x)`` of all classes of the network.
            valid: which cells ``(y, x)`` have scores; the others are stored as ``fill`` and are not counted.
        """
        assert scores.shape[0] == self.network_classes, (
            f"{scores.shape[0]} classes, the network has {self.network_classes}"
        )
        block = np.empty((self.bands, *scores.shape[1:]), self.dtype)
        saturated = nans = 0
        step = max(1, _AT_ONCE // (self.network_classes * scores.shape[2]))
        for i in range(0, scores.shape[1], step):
            rows = slice(i, i + step)
            known = None if valid is None else valid[rows]
            encode = _encode_labels if self.kind == "labels" else _encode_scores
            part = encode(scores[:, rows], self, known)
            block[:, rows] = part.block
            saturated += part.saturated
            nans += part.nans
        if valid is not None:
            block[:, ~valid] = self.fill
        return Encoded(block, saturated, nans)


def score_encoder(
    encoding: Encoding,
    *,
    classes: int,
    class_names: tuple[str, ...] | None = None,
    dtype: str = "float32",
    ends_in: FinalActivation | None = None,
    features: bool = False,
) -> ScoreEncoder:
    """The encoder for a network's scores.

    Args:
        encoding: which scores are stored, and how.
        classes: number of classes of the network.
        class_names: one each, or none.
        dtype: of the network's scores.
        ends_in: the activation that the network ends in; it is not applied again.
        features: whether these are no scores of classes: they have no top class and no probabilities.

    Raises:
        ImageError: options that exclude each other or mean nothing for features, no such class, ``uint8`` without a
            range, an activation of what are probabilities already.

    Examples:
        >>> encoder = score_encoder(Encoding(activation="sigmoid", dtype="uint8"), classes=3)
        >>> encoder.bands, encoder.encode(np.zeros((3, 1, 1), np.float32)).block.ravel()
        (3, array([127, 127, 127], dtype=uint8))
    """
    _check(encoding, classes)
    if features and (encoding.labels or encoding.activation):
        option = "labels" if encoding.labels else "activation"
        raise ImageError(option, "means nothing for features, which are no scores of classes", fix="leave it out")
    if encoding.labels:
        label = "uint8" if classes <= 255 else "uint16"
        fill = float(np.iinfo(label).max)
        return ScoreEncoder(classes, tuple(range(classes)), class_names, "labels", label, None, 1.0, 0.0, fill)
    activation = missing_activation(encoding.activation, ends_in)
    chosen = _chosen(encoding.classes, classes, class_names)
    names = None if class_names is None else tuple(class_names[index] for index in chosen)
    if encoding.dtype != "uint8":
        kind = encoding.dtype or dtype
        return ScoreEncoder(classes, chosen, names, "scores", kind, activation, 1.0, 0.0, math.nan)
    low, high = encoding.range or (0.0, 1.0)
    scale = (high - low) / _LEVELS
    return ScoreEncoder(classes, chosen, names, "scores", "uint8", activation, scale, low, 255.0)


def missing_activation(wanted: Activation | None, ends_in: FinalActivation | None) -> Activation | None:
    """What is still to be applied to scores that went through ``ends_in``; none if that is what is wanted.

    Softmax of a log softmax is the softmax.

    Raises:
        ImageError: the two differ, so that no activation of these scores gives what is wanted.
    """
    if wanted is None or wanted == ends_in:
        return None
    if ends_in is None or (wanted, ends_in) == ("softmax", "log_softmax"):
        return wanted
    what = f"the scores went through {ends_in} already: {wanted} of these is no probability"
    raise ImageError("activation", what, fix="leave it out")


def still_to_apply(wanted: Activation | None, spec: MapSpec) -> Activation | None:
    """What is still to be applied to the scores of a map; none if they went through what is wanted.

    Raises:
        ImageError: they went through another activation, or softmax is wanted of some of the network's classes.
    """
    missing = missing_activation(wanted, spec.went_through)
    if missing == "softmax" and not spec.holds_all_classes:
        what = f"softmax needs the scores of all classes, the map holds {len(spec.classes)} of them"
        raise ImageError(
            "activation", what, fix='scan all classes, or with Encoding(classes=..., activation="softmax")'
        )
    return missing


def activated(scores: NDArray[np.floating], activation: Activation | None) -> NDArray[np.float64]:
    """Probabilities of logits ``(k, …)`` of all classes, in float64; without an activation, the logits.

    Softmax subtracts the greatest score first, so that nothing overflows; a NaN makes all classes NaN.
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


def _check(encoding: Encoding, classes: int) -> None:
    """Raises if options exclude each other, or one is unknown."""
    dtype, span = encoding.dtype, encoding.range
    given = [n for n in ("classes", "activation", "dtype", "range") if getattr(encoding, n) is not None]
    if encoding.activation not in (None, "softmax", "sigmoid"):
        fault = "activation", f"{encoding.activation!r} is not known", "use softmax, sigmoid or None"
    elif dtype not in (None, "float32", "float16", "uint8"):
        fault = "dtype", f"scores cannot be stored as {dtype!r}", "use float32, float16 or uint8"
    elif encoding.labels and given:
        what = f"labels are the index of the top class, which takes no {' or '.join(given)}"
        fault = "labels", what, "leave out one"
    elif encoding.labels and classes > 65535:
        what = f"{classes} classes are more than the 65535 that 16 bits can tell apart"
        fault = "labels", what, "store the scores of some classes"
    elif span is not None and dtype != "uint8":
        fault = "range", f"{span} applies to uint8, dtype is {dtype}", "leave it out, or use uint8"
    elif span is not None and not (all(map(math.isfinite, span)) and span[0] < span[1]):
        fault = "range", f"{span} is no range of scores", "give the lowest and the highest score, both finite"
    elif dtype == "uint8" and span is None and encoding.activation is None:
        fault = (
            "dtype",
            "uint8 needs to know which scores to store as 0 and 254",
            "store probabilities (softmax or sigmoid), or give the range of the scores",
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
        raise ImageError("classes", what, fix="name each class once")
    return chosen


def _encode_scores(scores: NDArray[np.floating], encoder: ScoreEncoder, valid: NDArray[np.bool_] | None) -> Encoded:
    """Stored numbers of rows ``(k, y, x)``; saturated scores and NaN are counted in valid cells."""
    values = scores if encoder.activation is None else activated(scores, encoder.activation)
    if encoder.classes != tuple(range(encoder.network_classes)):
        values = values[list(encoder.classes)]
    nan = np.isnan(values)
    if encoder.dtype == "uint8":
        with np.errstate(invalid="ignore"):
            numbers = np.rint((values.astype(np.float64) - encoder.offset) / encoder.scale)
        beyond = (numbers < 0) | (numbers > _LEVELS)
        numbers = np.where(nan, encoder.fill, numbers.clip(0, _LEVELS))
    else:
        with np.errstate(over="ignore"):
            numbers = values.astype(encoder.dtype)
        beyond = np.isinf(numbers) & np.isfinite(values)
    if valid is not None:
        nan, beyond = nan & valid, beyond & valid
    return Encoded(numbers, int(beyond.sum()), int(nan.sum()))


def _encode_labels(scores: NDArray[np.floating], encoder: ScoreEncoder, valid: NDArray[np.bool_] | None) -> Encoded:
    """Index of the top class of rows ``(k, y, x)``; ``fill`` where a score is NaN."""
    nan = np.isnan(scores).any(axis=0)
    best = np.where(nan, int(encoder.fill), scores.argmax(axis=0))
    return Encoded(best[None], 0, int((nan if valid is None else nan & valid).sum()))
