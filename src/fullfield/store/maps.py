"""Score maps that are larger than memory: what they hold, and how they are read by region."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference

Kind = Literal["scores", "labels"]
Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class MapSpec:
    """What a stored map holds, and where it lies.

    A stored number ``n`` means ``offset + scale * n``; ``fill`` stands where there is no score.

    Args:
        shape: bands, rows and columns.
        dtype: of the stored numbers: float64, float32, float16, uint8 or, for labels, uint16.
        shard: rows and columns that are written at once, and lie in one file.
        placement: where the cells lie on the image.
        kind: ``scores``, a band for each class kept, or ``labels``, one band that holds the index of the top class.
        classes: index of every band's class among the network's; of labels, all classes.
        class_names: one name for each of ``classes``, or none.
        activation: applied to the network's scores before they were stored.
        scale, offset: of the stored numbers; 1 and 0 of floats and labels.
        fill: NaN of floats, the greatest number of integers.
        mode: ``exact`` or ``context``.
        georeference: of the original image, if it lies on a map.
        mpp: micrometres per pixel (y, x) of the original image, if known.
        provenance: what made the map, as plain JSON.
    """

    shape: tuple[int, int, int]
    dtype: str
    shard: tuple[int, int]
    placement: Placement
    kind: Kind = "scores"
    classes: tuple[int, ...] = ()
    class_names: tuple[str, ...] | None = None
    activation: Activation | None = None
    scale: float = 1.0
    offset: float = 0.0
    fill: float = float("nan")
    mode: Literal["exact", "context"] = "exact"
    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


class ScoreMap(Protocol):
    """A finished map that is read by region, from memory or from disk."""

    @property
    def spec(self) -> MapSpec:
        """What it holds."""
        ...

    @property
    def certificate(self) -> dict[str, Any] | None:
        """What verification found, as plain JSON."""
        ...

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Stored numbers ``(bands, y, x)`` of a half-open region of cells, as they are stored."""
        ...

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which cells ``(y, x)`` of a region have scores."""
        ...


def decoded(numbers: NDArray[Any], spec: MapSpec) -> NDArray[np.floating]:
    """Scores of stored numbers, NaN where there is none; labels as they are, in float32."""
    values: NDArray[np.floating] = numbers.astype(np.float64 if numbers.dtype == np.float64 else np.float32)
    if numbers.dtype.kind != "f":
        values *= np.float32(spec.scale)
        values += np.float32(spec.offset)
        values[numbers == numbers.dtype.type(spec.fill)] = np.nan
    return values
