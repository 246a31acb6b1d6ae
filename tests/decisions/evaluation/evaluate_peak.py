"""The peak memory of one evaluation, in a process of its own: ``python evaluate_peak.py LABELS SIDE``.

Prints one line of JSON. All scores of the map differ; they are made when they are read. The start is taken when a small
map has been evaluated.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.evaluate import evaluate_maps
from fullfield.decisions.evaluation.labels import Labels
from fullfield.decisions.evaluation.tally import PredictionRule
from fullfield.store.maps import MapSpec
from tests.decisions.evaluation.maps import box, geojson, placed
from tests.engine.peak import Watch


class Random:
    """A map of any size that takes no memory."""

    certificate = None
    levels = 1

    def __init__(self, side: int) -> None:
        facts: dict[str, Any] = {"classes": (0, 1), "provenance": {"ends_in": "softmax"}}
        self.spec = MapSpec((2, side, side), "float32", (1024, 1024), placed(side, side), **facts)

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = slice(None)) -> NDArray[np.float32]:
        first = np.random.default_rng([top, left]).random((bottom - top, right - left), dtype=np.float32)
        return np.stack([first, 1 - first])[bands]


def labels_of(kind: str, side: int, folder: str) -> Labels:
    """Pixels of two classes, or a thousand boxes."""
    if kind == "pixels":
        return Labels((np.arange(1000)[:, None] // 50 + np.arange(1000) // 50).astype(np.uint8) % 2)
    corners = np.random.default_rng(0).uniform(0, 4 * side, (1000, 2))
    boxes = ((box(y, x, y + 40 + k, x + 900 - k / 2), {"class": k % 2}) for k, (y, x) in enumerate(corners.tolist()))
    return Labels(geojson(Path(folder) / "boxes.geojson", *boxes))


def measure(kind: str, side: int) -> dict[str, Any]:
    """What one evaluation took beside what was there, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for size in (64, side):
            scores, labels = Random(size), labels_of(kind, size, folder)
            began = time.perf_counter()
            with Watch() as watch:
                found = evaluate_maps([scores], [labels], rule=PredictionRule.of(scores.spec))  # type: ignore[list-item]
    seconds = round(time.perf_counter() - began, 1)
    off = found.classes[0].auc.off
    return {"measured": watch.taken, "seconds": seconds, "samples": found.samples, "off": off}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))) + "\n")
