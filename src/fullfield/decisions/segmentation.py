"""``Segmentation``: how segments are made of a score map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_fields, parse_pair
from fullfield.errors import ImageError, UnsupportedError
from fullfield.exporters.grid import band_indices
from fullfield.geometry.region import Pair
from fullfield.store.classes import find_band
from fullfield.store.encoding import still_to_apply
from fullfield.store.maps import Activation, MapSpec, ScoreMap

_Class = int | str
Threshold = float | tuple[float, float]
"""Least score of a class; or two: pixels from the first on count where they are connected to one of the second."""
_MOST_CLASSES = 1 << 14
_LEAST_EPSILON = 1e-6  # below, 64 bits cannot invert the covariance of three equal channels


@checks_fields
@dataclass(frozen=True)
class Segmentation:
    """How segments are made: scores interpolated to pixels, filtered and compared; then small regions are removed.

    Args:
        classes: those that are compared, by index among the network's or by name; all by default.
        activation: ``softmax`` or ``sigmoid``, of networks that return logits.
        threshold: least score of a pixel of the top class; below it a pixel has no class. Two numbers ``(low, high)``
            are hysteresis: a connected region above ``low`` counts if some pixel of it reaches ``high``. A mapping of
            classes gives some of them thresholds of their own.
        guided: radius of the guided filter, px of the image; ``None`` for no filter.
        epsilon: of the guided filter: edges whose variance is less are smoothed over; black to white is 1.
        min_area: segments of less, px of the image, become part of the neighbour with which they share the longest
            border.
        fill_holes: regions without a class of at most so much, px of the image, inside a single class, get that class.
        resolution: ``image``, a pixel of the image each; or height and width of the whole image, px.
    """

    classes: _Class | Sequence[_Class] | None = None
    activation: Activation | None = None
    threshold: Threshold | Mapping[_Class, Threshold] | None = None
    guided: int | None = None
    epsilon: float = 1e-3
    min_area: float = 0
    fill_holes: float = 0
    resolution: Literal["image"] | Pair = "image"

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON."""
        some = self.classes
        return {
            "classes": some if some is None or isinstance(some, (int, str)) else list(some),
            "activation": self.activation,
            "threshold": _plain(self.threshold),
            "guided": self.guided,
            "epsilon": self.epsilon,
            "min_area": self.min_area,
            "fill_holes": self.fill_holes,
            "resolution": self.resolution if self.resolution == "image" else list(self.resolution),
        }


def _plain(threshold: Any) -> Any:
    """A threshold, or thresholds by class, as plain JSON."""
    if isinstance(threshold, Mapping):
        return {str(cls): _plain(value) for cls, value in threshold.items()}
    return list(threshold) if isinstance(threshold, tuple) else threshold


@dataclass(frozen=True)
class ParsedSegmentation:
    """Options of a segmentation for one map.

    Args:
        bands: of the classes that are compared.
        activation: still to be applied.
        low, high: thresholds of each of these classes; minus infinity for none.
        size: height and width of the labels, px.
        radius: of the guided filter, px of the labels; 0 for none.
        epsilon: of the guided filter.
        least: px of the labels that a segment has at least.
        hole: px of the labels that a hole has at most to be filled.
    """

    bands: tuple[int, ...]
    activation: Activation | None
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size: Pair
    radius: int
    epsilon: float
    least: int
    hole: int

    @property
    def has_thresholds(self) -> bool:
        """Whether some class has one."""
        return bool((self.low > -math.inf).any())


def parse_segmentation(scores: ScoreMap, how: Segmentation, *, has_image: bool) -> ParsedSegmentation:
    """The options for a map.

    Raises:
        ImageError: labels, unknown classes or options, thresholds the wrong way round, no image for the filter.
        UnsupportedError: more classes than labels can tell apart.
    """
    spec = scores.spec
    if spec.kind == "labels":
        raise ImageError(
            "segments", "a map of labels has no scores to interpolate", fix="scan for scores, without labels"
        )
    bands = tuple(band_indices(scores, how.classes))
    if len(bands) > _MOST_CLASSES:
        raise UnsupportedError(
            "segments", f"{len(bands)} classes are more than {_MOST_CLASSES}", fix="choose some with classes"
        )
    low, high = _thresholds(spec, bands, how.threshold)
    if len(bands) == 1 and low[0] == -math.inf:
        what = "of a single class every pixel would be part of it"
        raise ImageError("threshold", what, fix="give its least score: threshold=0.5, or (0.3, 0.7) for hysteresis")
    size = _size(how, spec.placement.image)
    pixel = math.prod(spec.placement.image) / math.prod(size)
    side = math.sqrt(pixel)
    areas = [_area(name, getattr(how, name)) for name in ("min_area", "fill_holes")]
    return ParsedSegmentation(
        bands,
        _activation(spec, how.activation),
        low,
        high,
        size,
        _radius(how, side, has_image=has_image),
        float(how.epsilon),
        math.ceil(areas[0] / pixel),
        math.floor(areas[1] / pixel),
    )


def _activation(spec: MapSpec, wanted: Activation | None) -> Activation | None:
    if wanted not in (None, *get_args(Activation)):
        raise ImageError("activation", f"{wanted!r} is not known", fix="use softmax, sigmoid or None")
    return still_to_apply(wanted, spec)


def _thresholds(spec: MapSpec, bands: tuple[int, ...], given: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and decisive score of each class."""
    low, high = np.full(len(bands), -math.inf), np.full(len(bands), -math.inf)
    if given is None:
        return low, high
    if not isinstance(given, Mapping):
        low[:], high[:] = _threshold(given)
        return low, high
    for cls, value in given.items():
        band = find_band(spec, cls)
        if band not in bands:
            raise ImageError("threshold", f"{cls!r} is none of the classes that are compared", fix="add it to classes")
        low[bands.index(band)], high[bands.index(band)] = _threshold(value)
    return low, high


def _threshold(value: Any) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, Real) and math.isfinite(float(n)) for n in pair):
        fix = "give the least score, or two: (0.3, 0.7)"
        raise ImageError("threshold", f"{value!r} is not one or two numbers", fix=fix)
    low, high = float(pair[0]), float(pair[1])
    if low > high:
        raise ImageError("threshold", f"low {low:g} is above high {high:g}", fix=f"give ({high:g}, {low:g})")
    return low, high


def _size(how: Segmentation, image: Pair) -> Pair:
    if how.resolution == "image":
        return image
    fix = "use image, or (height, width)"
    if isinstance(how.resolution, str):
        raise ImageError("resolution", f"{how.resolution!r} is not known", fix=fix)
    size = parse_pair("resolution", how.resolution, fix=fix, error=ImageError)
    if size[0] > image[0] or size[1] > image[1]:
        what = f"{size[0]}x{size[1]} px are more than the image's {image[0]}x{image[1]}"
        raise ImageError("resolution", what, fix="give at most the image's size")
    return size


def _radius(how: Segmentation, side: float, *, has_image: bool) -> int:
    """Radius of the filter in px of the labels, each ``side`` px of the image wide."""
    if how.guided is None:
        return 0
    if isinstance(how.guided, bool) or not isinstance(how.guided, (int, np.integer)) or how.guided < 1:
        raise ImageError("guided", f"{how.guided!r} is no radius", fix="give px of the image, 1 or more")
    if not _LEAST_EPSILON <= how.epsilon < math.inf:
        raise ImageError("epsilon", f"{how.epsilon!r} is not {_LEAST_EPSILON:g} or more", fix="give 0.001, say")
    if not has_image:
        raise ImageError("guided", "needs the image that was scanned", fix="pass it: image=... (--image FILE)")
    return max(1, round(how.guided / side))


def _area(name: str, value: Any) -> float:
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf:
        return float(value)
    raise ImageError(name, f"{value!r} is no area", fix="give px of the image, 0 or more")
