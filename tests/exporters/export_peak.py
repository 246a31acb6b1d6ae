"""The peak memory of one export, in a process of its own: ``python export_peak.py BANDS SIDE SUFFIX [OPTIONS]``.

Prints one line of JSON. The map's numbers are made by a formula when they are read; of 0 bands it holds labels. The
start is taken when a small map has been written in the same format, so that what stays is what the export itself takes.
A budget in bytes is one of the options.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from fullfield.exporters import Options, export
from fullfield.geometry.placement import Placement
from fullfield.store.maps import MapSpec
from tests.engine.peak import Watch


class Endless:
    """A map of any size that takes no memory; labels lie in patches, as real ones do."""

    certificate = None

    def __init__(self, bands: int, side: int) -> None:
        labels = bands == 0
        place = Placement((1, 1), (1, 1), (side, side), (side, side))
        self.spec = MapSpec(
            (max(1, bands), side, side), "uint8" if labels else "float32", (2048, 2048), place,
            kind="labels" if labels else "scores", classes=tuple(range(16 if labels else bands)),
            fill=255.0 if labels else math.nan,
        )  # fmt: skip

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = slice(None)) -> NDArray[Any]:
        y, x = np.arange(top, bottom)[:, None], np.arange(left, right)
        if self.spec.kind == "labels":
            return ((y // 37 % 10).astype(np.uint8) ^ (x // 41 % 4).astype(np.uint8))[None]
        plane = (y * 7 % 512).astype(np.float32) + (x * 3 % 512).astype(np.float32)
        wanted = range(*bands.indices(self.spec.shape[0]))
        out = np.empty((len(wanted), *plane.shape), np.float32)
        for band, numbers in zip(wanted, out, strict=True):
            np.add(plane, band, out=numbers)
        return out

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return np.ones((bottom - top, right - left), np.bool_)


class Children(Watch):
    """Takes the greatest of what the processes hold that this one started."""

    def run(self) -> None:
        this = psutil.Process()
        while not self.over:
            for child in this.children():
                with suppress(psutil.Error):
                    self.peak = max(self.peak, child.memory_info().rss)
            time.sleep(0.005)


def measure(bands: int, side: int, suffix: str, options: dict[str, Any]) -> dict[str, Any]:
    """What one export took beside what was there, and another process that it started in all, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"budget_bytes": options.pop("budget", None), "options": Options(**options)}
        export(Endless(bands, 64), Path(folder) / f"small{suffix}", **settings)
        with Watch() as watch, Children() as children:
            began = time.perf_counter()
            export(Endless(bands, side), Path(folder) / f"map{suffix}", **settings)
            seconds = time.perf_counter() - began
        place = Path(folder) / f"map{suffix}"
        size = sum(file.stat().st_size for file in (place.rglob("*") if place.is_dir() else [place]))
    return {"measured": watch.taken, "child": children.peak, "size": size, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    bands, side, suffix, *rest = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(int(bands), int(side), suffix, json.loads(rest[0]) if rest else {})) + "\n")
