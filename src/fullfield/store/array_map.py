"""Score maps in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.store.maps import ALL, MapSpec, check_level, check_region, filled


@dataclass(frozen=True, eq=False)
class ArrayMap:
    """A score map whose stored numbers are an array. It has no coarser levels.

    Args:
        array: stored numbers ``(bands, y, x)``.
        spec: what they mean.
        certificate: the result of verification, as plain JSON.

    Raises:
        ImageError: array, placement and class names do not fit together.
    """

    array: NDArray[Any]
    spec: MapSpec
    certificate: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        array, (rows, columns), names = self.array, self.spec.placement.shape, self.spec.class_names
        known = array.dtype.kind == "f" or not math.isnan(self.spec.fill)
        if array.ndim != 3 or array.shape[1:] != (rows, columns) or not known or not array.size:
            raise ImageError(
                "scores",
                f"{array.dtype} of shape {array.shape} is no map of {rows}x{columns} cells",
                fix="give floating scores of shape (classes, rows, columns)",
            )
        if names is not None and len(names) != len(self.spec.classes):
            raise ImageError(
                "class names",
                f"{len(names)} names for {len(self.spec.classes)} classes",
                fix="give one name for each class",
            )

    @property
    def levels(self) -> int:
        """1: the map itself."""
        return 1

    def level(self, number: int) -> ArrayMap:
        """The map itself.

        Raises:
            GeometryError: a number above 0.
        """
        check_level(number, 1)
        return self

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        """A view of a half-open region of cells. Shape: ``(bands, y, x)``"""
        check_region((top, bottom, left, right), self.array.shape[1:])
        return self.array[bands, top:bottom, left:right]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have a score that is not NaN."""
        return filled(self.read(top, bottom, left, right), self.spec)
