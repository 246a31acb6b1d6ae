"""The peak memory of one picture or background, in a process of its own: ``python picture_peak.py CASE BUDGET SIDE``.

Prints one line of JSON. The image's pixels are made by a formula when they are read. The start is taken when the same
was done for a small image, so that what stays is what the case itself takes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fullfield
from fullfield.arguments import parse_bytes
from fullfield.drawing.score_pictures import PictureStyle, save_overlay
from fullfield.exporters import export
from fullfield.geometry.placement import Placement
from fullfield.image.raster import ImageMetadata
from tests.engine.peak import Watch
from tests.exporters.export_peak import Endless


@dataclass(frozen=True)
class Photo:
    """An image of any size that takes no memory: a bright, noisy slide with a darker rectangle in the middle."""

    side: int
    tile: tuple[int, int] = (512, 512)
    channels: int = 3
    name: str = "photo"
    dtype: np.dtype[Any] = np.dtype(np.uint8)  # noqa: RUF009 (frozen, as types are)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, self.channels

    @property
    def metadata(self) -> ImageMetadata:
        return ImageMetadata({"side": self.side}, self.tile)

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        y, x = np.arange(top, bottom)[:, None], np.arange(left, right)
        inside = (abs(2 * y - self.side) < self.side // 2) & (abs(2 * x - self.side) < self.side // 2)
        plane = np.where(inside, 120, 230).astype(np.uint8) + ((y * 7 ^ x * 3) & 7).astype(np.uint8)
        return np.stack([plane - np.uint8(20 * (c % 3 == 1)) * inside for c in range(self.channels)], axis=-1).astype(
            self.dtype
        )

    def valid(self, *region: int) -> None:
        return None

    def thumbnail(self, side: int) -> None:
        return None

    def close(self) -> None:
        pass


def stored(folder: Path, image: int, step: int, bands: int) -> fullfield.Scores:
    """A stored map of so many classes over an image."""
    scores = Endless(bands, image // step)
    placement = Placement((step, step), (step, step), (image, image), (image, image))
    object.__setattr__(scores.spec, "placement", placement)
    export(scores, folder / f"{image}.zarr")
    return fullfield.open_scores(folder / f"{image}.zarr")


def overlay(
    folder: Path, side: int, budget: str, *, bands: int, step: int, suffix: str = ".png", **options: Any
) -> Callable[[], object]:
    """Draws one class of a stored map over an image."""
    scores, file = stored(folder, side, step, bands), folder / f"{side}{suffix}"
    cls, style = options.pop("cls", None), PictureStyle(**options)
    return lambda: save_overlay(scores.map, Photo(side), cls, style, file, budget_bytes=parse_bytes(budget))


CASES: dict[str, Callable[[Path, int, str], Callable[[], object]]] = {
    "overlay": lambda folder, side, budget: overlay(folder, side, budget, bands=2, step=16),
    "overlay-jpeg": lambda folder, side, budget: overlay(folder, side, budget, bands=2, step=16, suffix=".jpg"),
    "overlay-fine": lambda folder, side, budget: overlay(folder, side, budget, bands=1, step=1, smooth=True),
    "overlay-labels": lambda folder, side, budget: overlay(folder, side, budget, bands=0, step=1),
    "overlay-classes": lambda folder, side, budget: overlay(folder, side, budget, bands=1000, step=16, cls=500),
    "overlay-widest": lambda folder, side, budget: overlay(folder, side, budget, bands=1000, step=16),
    "overlay-softmax": lambda folder, side, budget: overlay(
        folder, side, budget, bands=1000, step=16, cls=500, activation="softmax"
    ),
    "background": lambda _, side, budget: lambda: fullfield.find_foreground(Photo(side), budget=budget),
    "background-strips": lambda _, side, budget: (
        lambda: fullfield.find_foreground(Photo(side, tile=(16, side)), budget=budget)
    ),
    "background-bands": lambda _, side, budget: (
        lambda: fullfield.find_foreground(Photo(side, channels=30, dtype=np.dtype(np.uint16)), budget=budget)
    ),
}


def measure(case: str, budget: str, side: int) -> dict[str, Any]:
    """What one case took beside what was there, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        CASES[case](Path(folder), 320, budget)()
        work = CASES[case](Path(folder), side, budget)
        with Watch() as watch:
            began = time.perf_counter()
            work()
            seconds = time.perf_counter() - began
    return {"measured": watch.taken, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    name, budget, side = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(name, budget, int(side))) + "\n")
