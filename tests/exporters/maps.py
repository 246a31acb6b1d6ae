"""Score maps in memory for the exporters' tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.maps import ALL, MapSpec

UTM = Georeference("EPSG:32633", (0.5, 0.1, 400000.0, 0.05, -0.5, 5400000.0))  # turned and sheared a little


@dataclass(frozen=True)
class Map:
    """A ScoreMap over an array; ``largest`` is the most cells that were asked for at once."""

    array: NDArray[Any]
    spec: MapSpec
    known: NDArray[np.bool_]
    asked: list[int]
    certificate: dict[str, Any] | None = None

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        self.asked.append((bottom - top) * (right - left))
        return self.array[bands, top:bottom, left:right]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return self.known[top:bottom, left:right]


def placed(**changes: Any) -> Placement:
    """Odd sizes on purpose: a resized image with padding on two sides."""
    plain = {"step": (4, 3), "window": (15, 8), "image": (300, 400), "scanned": (150, 260), "padding": (7, 0, 2, 5)}
    return Placement(**(plain | changes))


def score_map(
    bands: int = 3, *, placement: Placement | None = None, dtype: str = "float32", holes: bool = True, **spec: Any
) -> Map:
    placement = placement or placed()
    rng = np.random.default_rng(bands)
    known = rng.random(placement.shape) > 0.1 if holes else np.ones(placement.shape, np.bool_)
    if dtype == "uint8":
        array, fill = rng.integers(0, 255, (bands, *placement.shape)).astype(dtype), 255.0
        spec = {"scale": 1 / 254, "offset": 0.25} | spec
    else:
        array, fill = rng.standard_normal((bands, *placement.shape)).astype(dtype), float("nan")
    array[:, ~known] = fill
    spec = {"classes": tuple(range(bands)), "class_names": tuple(f"kind {k}" for k in range(bands))} | spec
    made = MapSpec(array.shape, dtype, (64, 64), placement, fill=fill, provenance={"model": "m"}, **spec)
    return Map(array, made, known, [])
