"""Contenders of a benchmark, measured turn by turn: what each takes to begin, and a window of its later turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from fullfield.errors import FullfieldError

T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """Seconds of the processor, in all threads of this process, and of the clock."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        return cls(time.process_time(), time.perf_counter())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)

    def __mul__(self, factor: float) -> Spent:
        return Spent(self.cpu_s * factor, self.wall_s * factor)


def spent(work: Callable[[], T]) -> tuple[Spent, T]:
    began = Spent.now()
    result = work()
    return Spent.now() - began, result


@dataclass(frozen=True)
class Entry:
    """What a contender does.

    Args:
        network: its name.
        threads: that compute.
        kind: ``crops``, ``whole image``, or the mode of a scan.
        engine, precision: that compute.
        image: height and width, px; 0 for crops, whose rate does not depend on it.
        step: px between windows; 0 for crops.
        windows: of the whole map; of one turn for crops.
        bound: how many times fewer multiply-adds than crops; 0 where not known.
    """

    network: str
    threads: int
    kind: str
    engine: str
    precision: str
    image: int = 0
    step: int = 0
    windows: int = 0
    bound: float = 0.0


class Contender(Protocol):
    """Something that is measured.

    ``begin`` prepares everything and runs once; ``turn`` runs once more. Both tell what all windows of ``entry`` take.
    """

    entry: Entry

    def begin(self) -> Spent: ...

    def turn(self) -> Spent: ...

    @property
    def remark(self) -> str: ...


@dataclass
class Record:
    """What was measured of one contender.

    Args:
        entry: what it does.
        first: with everything that comes before, such as reading the model and compiling.
        turns: of all windows, once everything is prepared.
        remark: the batch or tile, or why there are no times.
        load: of the machine after the last turn.
    """

    entry: Entry
    first: Spent = field(default_factory=Spent)
    turns: list[Spent] = field(default_factory=list)
    remark: str = ""
    load: float = 0.0

    @property
    def later(self) -> Spent:
        """Medians of the turns."""
        return Spent(statistics.median(t.cpu_s for t in self.turns), statistics.median(t.wall_s for t in self.turns))

    @property
    def per_window(self) -> Spent:
        return self.later * (1 / self.entry.windows)

    @property
    def preparing(self) -> Spent:
        """What the first run takes more than a later one."""
        more = self.first - self.later
        return Spent(max(0.0, more.cpu_s), max(0.0, more.wall_s))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Record:
        turns = [Spent(**turn) for turn in facts["turns"]]
        return cls(Entry(**facts["entry"]), Spent(**facts["first"]), turns, facts["remark"], facts["load"])


def measure(contenders: list[Contender], records: list[Record], *, until: float, most: int) -> None:
    """Each contender begins and takes a turn, then all take turns as long as there is time.

    Args:
        contenders: the most important ones first: those that cannot begin in time are not measured.
        records: are added here, so that an interrupted benchmark has those of what it measured.
        until: end of the time, of ``time.process_time``; what has begun by then is finished.
        most: turns of each.
    """
    playing = []
    for contender in contenders:
        record = Record(contender.entry, remark="no time left")
        records.append(record)
        if time.process_time() > until:
            continue
        try:
            record.first = contender.begin()
            _turn(contender, record)
            playing.append((contender, record))
        except FullfieldError as error:
            record.remark = error.what
    for _ in range(most - 1):
        for contender, record in playing:
            if time.process_time() + record.turns[-1].cpu_s < until:
                _turn(contender, record)


def _turn(contender: Contender, record: Record) -> None:
    record.turns.append(contender.turn())
    record.entry = contender.entry
    record.remark = contender.remark
    record.load = os.getloadavg()[0]
