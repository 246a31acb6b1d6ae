"""Estimates when the work on several images ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class BatchClock:
    """How far the work on several images is, measured by the size of their files; images of unknown size count alike.

    Args:
        paths: of the images, in their order.
        sizes: of each, in any unit.
        began: when the work on the first began, s; ``None`` before.
        number: of the image that is worked on, from 1; 0 before the first.
    """

    paths: Sequence[str]
    sizes: Sequence[float]
    began: float | None = None
    number: int = 0
    _scanned: float = 0.0

    @classmethod
    def of(cls, paths: Sequence[str]) -> BatchClock:
        """The clock of some images; the size of what is no file on this machine is the mean of the others."""
        files = [Path(path) for path in paths]
        sizes = [float(file.stat().st_size) if file.is_file() else 0.0 for file in files]
        known = [size for size in sizes if size]
        mean = sum(known) / len(known) if known else 1.0
        return cls(paths, [size or mean for size in sizes])

    def start(self, path: str, now: float) -> int:
        """Begins the work on the next image of this path, and returns its number; those before it are finished."""
        if self.began is None:
            self.began = now
        elif self.number:
            self._scanned += self.sizes[self.number - 1]
        at = self.number
        while at < len(self.paths) - 1 and self.paths[at] != path:
            at += 1
        self.number = at + 1
        return self.number

    def fraction(self, part: float) -> float:
        """Share of all that is done, those that were finished before included, when so much of the image is."""
        if not self.number:
            return 0.0
        done = sum(self.sizes[: self.number - 1]) + part * self.sizes[self.number - 1]
        return done / sum(self.sizes)

    def left_s(self, part: float, now: float) -> float | None:
        """Estimated time that the rest takes, s; ``None`` before anything is done."""
        if self.began is None or not self.number:
            return None
        current = self.sizes[self.number - 1]
        done = self._scanned + part * current
        left = sum(self.sizes[self.number :]) + (1 - part) * current
        return (now - self.began) * left / done if done else None


def end_text(left_s: float) -> str:
    """When something ends that takes so long from now: the time of day, with the date from tomorrow on."""
    now = time.time()
    end = time.localtime(now + left_s)
    today = time.localtime(now)[:3] == end[:3]
    return time.strftime("%H:%M" if today else "%a %d %b, %H:%M", end)
