"""The peak memory of finding boxes, in a process of its own: ``python detect_peak.py SIDE THRESHOLD``.

Prints one line of JSON. The map's scores are made by a formula when they are read.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from numpy.typing import NDArray

from fullfield.api.boxes import detect_in_maps
from fullfield.decisions.boxes import BoxRule
from fullfield.geometry.placement import Placement
from fullfield.store.maps import ALL, MapSpec
from tests.engine.peak import Watch


class Noise:
    """A map of any size that takes no memory, each score a hash of its place."""

    certificate = None
    levels = 1

    def __init__(self, side: int) -> None:
        image = (8 * side + 56, 8 * side + 56)
        place = Placement((8, 8), (64, 64), image, image)
        self.spec = MapSpec((1, side, side), "float32", (256, 256), place, classes=(0,), class_names=("a",))

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[np.float32]:
        y, x = np.arange(top, bottom, dtype=np.uint64)[:, None], np.arange(left, right, dtype=np.uint64)
        mixed = y * np.uint64(0x9E3779B97F4A7C15) + x * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return ((mixed ^ (mixed >> np.uint64(32))) >> np.uint64(40)).astype(np.float32)[None] / np.float32(2**24)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return np.ones((bottom - top, right - left), np.bool_)


def boxes(side: int, threshold: float) -> int:
    """Number of boxes in a map."""
    rule = BoxRule.parse(0.3, None, None, False)
    return len(detect_in_maps([Noise(side)], threshold, None, rule, budget_bytes=None, progress=None))  # type: ignore[list-item]


if __name__ == "__main__":
    side, threshold = int(sys.argv[1]), float(sys.argv[2])
    boxes(64, threshold)
    with Watch() as watch:
        count = boxes(side, threshold)
    sys.stdout.write(json.dumps({"measured": watch.taken, "boxes": count}) + "\n")
