"""How far a long piece of work is: one record for scans, tuning, verification, exports and background search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is: an immutable snapshot, made for one call of ``progress``.

    Work that an earlier run finished is counted neither as done nor in the totals.

    Args:
        stage: what is being done, such as ``scanning`` or ``exporting``.
        done, total: amount of work; the total is 0 while it is unknown.
        unit: of both: ``windows``, ``cells``, ``px`` or ``settings``.
        blocks, blocks_total: blocks of the score map finished, and to be finished.
        computed: windows that were computed; the others of ``done`` were not wanted.
        pixels: of the image, the share that corresponds to the windows done.
        elapsed_s: time since the work began.
        reading_s: time for which the computation waited for pixels.
        writing_s: time for which the computation waited for the writer.
        remark: a warning for the user; empty if there is none.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = "windows"
    blocks: int = 0
    blocks_total: int = 0
    computed: int = 0
    pixels: float = 0.0
    elapsed_s: float = 0.0
    reading_s: float = 0.0
    writing_s: float = 0.0
    remark: str = ""

    @property
    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1; 0 while the total is unknown."""
        return self.done / self.total if self.total else 0.0

    @property
    def left_s(self) -> float | None:
        """Estimated time that the rest takes; ``None`` before the first unit is done."""
        return self.elapsed_s * (self.total - self.done) / self.done if self.done and self.total else None

    @property
    def bound(self) -> str:
        """What most of the time went to: ``reader``, ``writer`` or ``compute``."""
        waits = {"reader": self.reading_s, "writer": self.writing_s}
        waits["compute"] = self.elapsed_s - sum(waits.values())
        return max(waits, key=lambda name: waits[name])


OnProgress = Callable[[Progress], None]


def announce(progress: OnProgress | None, stage: str, remark: str = "") -> None:
    """Reports that a stage of unknown length begins."""
    if progress is not None:
        progress(Progress(stage, remark=remark))


@dataclass(frozen=True)
class StageReporter:
    """Reports one stage of work that is counted in a single unit.

    Args:
        progress: called with every report; ``None`` for no reports.
        name, total, unit: as of ``Progress``.
        began: time of ``time.perf_counter`` at which the stage began.
    """

    progress: OnProgress | None
    name: str
    total: int
    unit: str
    began: float = field(default_factory=time.perf_counter)

    def report(self, done: int) -> None:
        """Reports that so much of the stage is done."""
        if self.progress is not None:
            elapsed = time.perf_counter() - self.began
            self.progress(Progress(self.name, done, self.total, self.unit, elapsed_s=elapsed))
