"""The peak memory of one decision, in a process of its own: ``python decide_peak.py BANDS SIDE HOW ON HOLES``.

Prints one line of JSON. The map's numbers are made by a formula when they are read; with holes, a disk of its cells has
no scores. The start is taken when a small map has been decided, so that what stays is what the decision itself takes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.decide import decide_map
from fullfield.decisions.rule import DecisionRule
from fullfield.geometry.placement import Placement
from tests.engine.peak import Watch
from tests.exporters.export_peak import Endless

STEP, WINDOW = 4, 30


class Wide(Endless):
    """Windows that overlap; numbers of several thousand values, some of them missing."""

    def __init__(self, bands: int, side: int, holes: bool) -> None:
        super().__init__(bands, side)
        length = (side - 1) * STEP + WINDOW
        place = Placement((STEP, STEP), (WINDOW, WINDOW), (length, length), (length, length))
        self.spec = self.spec.__class__(**{**vars(self.spec), "placement": place})
        self.side, self.holes = side, holes

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = slice(None)) -> NDArray[Any]:
        numbers = super().read(top, bottom, left, right, bands) / np.float32(300)
        if self.holes:
            numbers[:, ~self.valid(top, bottom, left, right)] = np.nan
        return numbers

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        y, x = np.arange(top, bottom)[:, None] - self.side / 2, np.arange(left, right) - self.side / 2
        return (
            np.asarray(y * y + x * x > (self.side / 5) ** 2) if self.holes else super().valid(top, bottom, left, right)
        )


def measure(bands: int, side: int, how: str, on: Any, holes: bool) -> dict[str, Any]:
    """What one decision took beside what was there, bytes."""
    decide_map(Wide(bands, 64, holes), DecisionRule(how, on))
    with Watch() as watch:
        began = time.perf_counter()
        found = decide_map(Wide(bands, side, holes), DecisionRule(how, on))
        seconds = time.perf_counter() - began
    return {"measured": watch.taken, "windows": found.windows, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    bands, side, how, on, holes = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(int(bands), int(side), how, on, holes == "holes")) + "\n")
