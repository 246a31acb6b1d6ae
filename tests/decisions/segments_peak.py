"""The peak memory of segments, in a process of its own: ``python segments_peak.py SIDE STEP GUIDED BUDGET``.

Prints one line of JSON. The map and the image are made by a formula when they are read: bumps of many sizes, and noise.
The start is taken when a small map has been segmented, so that what stays is what segments take.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.segment import segment
from fullfield.decisions.segmentation import Segmentation
from fullfield.geometry.placement import Placement
from fullfield.image.raster import ImageMetadata
from fullfield.store.maps import ALL, MapSpec
from tests.engine.peak import Watch

CLASSES = 4


def waves(y: NDArray[Any], x: NDArray[Any], phase: float) -> NDArray[np.float64]:
    """Bumps at any place, px."""
    y, x = y[:, None], x[None, :]
    return np.sin(y / 61 + phase) * np.sin(x / 83 + 2 * phase) + 0.6 * np.sin(y / 17 * x / 5e4 + 3 * phase)


class EndlessMap:
    """Probabilities of four classes; a part of the map has none."""

    certificate = None

    def __init__(self, side: int, step: int) -> None:
        place = Placement((step, step), (4 * step, 4 * step), (side, side), (side, side))
        shape = (CLASSES, *place.shape)
        self.spec = MapSpec(shape, "float32", (1024, 1024), place, classes=tuple(range(CLASSES)), fill=math.nan)

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[np.float32]:
        y, x = (np.arange(*span) * self.spec.placement.step[0] for span in ((top, bottom), (left, right)))
        planes = [waves(y, x, band) for band in range(CLASSES)[bands]]
        return np.array(planes, np.float32)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return (np.arange(top, bottom)[:, None] // 40 + np.arange(left, right) // 50) % 9 != 3


@dataclass
class EndlessImage:
    """A colour photograph."""

    side: int
    name: str = "endless"
    dtype: Any = field(default_factory=lambda: np.dtype(np.uint8))
    metadata: ImageMetadata = field(default_factory=lambda: ImageMetadata({}, (512, 512)))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, 3

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        y, x = np.arange(top, bottom), np.arange(left, right)
        return np.stack([(128 + 60 * waves(y, x, k)).astype(np.uint8) for k in range(3)], axis=2)

    def valid(self, top: int, bottom: int, left: int, right: int) -> None:
        return None

    def thumbnail(self, side: int) -> None:
        return None


def measure(side: int, step: int, guided: int, budget: int) -> dict[str, Any]:
    """What segments took beside what was there, bytes, and for how long it computed, s."""
    how = Segmentation(guided=guided or None, threshold=(0.2, 0.6), min_area=200, fill_holes=500)
    segment(EndlessMap(300, step), how, EndlessImage(300), budget_bytes=budget)
    with Watch() as watch:
        began = time.process_time()
        found, counts = segment(EndlessMap(side, step), how, EndlessImage(side), budget_bytes=budget)
        seconds = time.process_time() - began
    count = sum(each.segments for each in counts)
    return {
        "measured": watch.taken,
        "seconds": round(seconds, 1),
        "segments": count,
        "side": found.spec.shape[1],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(*map(int, sys.argv[1:]))) + "\n")
