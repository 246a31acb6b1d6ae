"""A map of a view of an image, read as a map of the image itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.image.views import ImageView
from fullfield.store.maps import ALL, MapSpec, ScoreMap, check_level, check_region


@dataclass(frozen=True, eq=False)
class TurnedMap:
    """A map whose cells are those of another one, flipped or turned back. It has no coarser levels.

    Args:
        scores: the map of the view.
        view: of the image.
        spec: of the map as it is read.
        certificate: of it.
    """

    scores: ScoreMap
    view: ImageView
    spec: MapSpec
    certificate: dict[str, Any] | None = None

    @property
    def levels(self) -> int:
        """1: the map itself."""
        return 1

    def level(self, number: int) -> TurnedMap:
        """The map itself.

        Raises:
            GeometryError: a number above 0.
        """
        check_level(number, 1)
        return self

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)`` of a half-open region of cells."""
        size = self.spec.shape[1:]
        check_region((top, bottom, left, right), size)
        turned: NDArray[Any] = self.scores.read(*self.view.region((top, bottom, left, right), size), bands)
        return self.view.back(turned)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have scores."""
        size = self.spec.shape[1:]
        return self.view.back(self.scores.valid(*self.view.region((top, bottom, left, right), size)))
